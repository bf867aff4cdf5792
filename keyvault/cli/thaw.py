"""``keyvault thaw``: see ``cli.freeze``."""

from keyvault.cli.freeze import thaw_command

command = thaw_command
