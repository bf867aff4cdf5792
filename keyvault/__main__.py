"""``python -m keyvault`` is ``keyvault``."""

from keyvault.cli.main import main

if __name__ == "__main__":
    main()
