"""Durable ledgers behind one Protocol."""
