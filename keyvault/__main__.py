"""``python -m keyvault`` is ``keyvault``."""

from keyvault.cli.main import main

main()
