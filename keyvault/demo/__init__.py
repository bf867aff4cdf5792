"""The product's main job on real input, told and checked step by step: ``python -m keyvault.demo`` (``make demo``).

A deployment of its own in a scratch folder, a real server process, real payloads. Whatever is claimed is checked here,
signatures with code that shares nothing with the product (``outside``). It touches nothing outside its folder, needs
no network but the loopback interface, and leaves no process behind.
"""
