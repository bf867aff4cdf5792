"""keyvault: a signing authority for trading firms. Start reading at keyvault/README.md."""

__version__ = "0.1.0"
