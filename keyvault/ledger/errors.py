"""What a check says when evidence does not hold."""

from keyvault.core.errors import KeyvaultError


class Unproven(KeyvaultError):
    """A signature or a Merkle proof does not show what it was given for."""


class TwoHistories(KeyvaultError):
    """The log key signed two checkpoints that are not of one history (I5). Each: who gave it, and the note."""

    def __init__(self, first: tuple[str, bytes], second: tuple[str, bytes]) -> None:
        super().__init__(
            f"TWO HISTORIES: the log key signed one checkpoint that {first[0]} gave and another that {second[0]} gave,"
            " and they are not of one ledger"
        )
        self.first = first
        self.second = second


class Unreadable(KeyvaultError):
    """A file or folder is no ledger that can be read, or may not be written."""
