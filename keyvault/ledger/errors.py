"""What a check says when evidence does not hold."""

from keyvault.core.errors import KeyvaultError


class Unproven(KeyvaultError):
    """A signature or a Merkle proof does not show what it was given for."""


class Unreadable(KeyvaultError):
    """A file or folder is no ledger that can be read, or may not be written."""
