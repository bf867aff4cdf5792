"""How one node of an enclave stands, and what an operator may ask of it."""

from dataclasses import dataclass
from typing import Protocol

from keyvault.core.ids import Epoch, Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStanding:
    """Another node of a pair, as this one knows it. ``position`` is None if it is not known.

    ``obstacle``: why it has not got everything, or could not lead, in words.
    """

    node: Principal
    address: str
    position: int | None
    obstacle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One node at one moment. ``obstacle`` says why it could not lead; empty if it could."""

    address: str
    leads: bool
    leader: str
    epoch: Epoch
    position: int
    checkpoint: tuple[int, bytes]
    """(size, note) of the newest checkpoint that it compared with its own copy, or made; (0, nothing) if none."""
    obstacle: str
    drained: bool
    quarantined: bool
    cosigner_vkey: str
    """What its cosignatures are checked against; empty until it cosigned."""
    cosigned: bytes
    """The newest checkpoint that it cosigned, as note; empty if none."""
    peers: tuple[PeerStanding, ...] = ()


class Member(Protocol):
    """A node that shares its enclave with others."""

    def standing(self) -> Standing:
        """Return how it stands."""

    async def hand_over(self) -> None:
        """Let another node lead, if this one does; return when it does not any more."""

    async def set_drained(self, *, drained: bool) -> None:
        """Hand over and stay away, or come back."""


class Spreader(Protocol):
    """A node whose place is taken into account when the leads of several enclaves are spread."""

    def standing(self) -> Standing:
        """Return how it stands."""

    def hand_over_briefly(self) -> None:
        """Begin to hand over, if this node leads; it competes again soon."""

    def set_yields(self, *, yields: bool) -> None:
        """Let another place take a free lease first, or not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceStanding:
    """A place, as a node sees it: enclaves that are led there, and those that could be; by name."""

    place: str
    leads: tuple[str, ...]
    able: tuple[str, ...]


class Reporter(Protocol):
    """Told what becomes of the node; for logs and metrics."""

    def leads(self, epoch: int) -> None:
        """It serves as the leader."""

    def ended(self, epoch: int, why: str) -> None:
        """Its term is over."""

    def quarantined(self, why: str) -> None:
        """It will not lead any more."""

    def cosigns(self, vkey: str) -> None:
        """It cosigns with this key from now on."""

    def evens_out(self, place: str) -> None:
        """It hands over so that this place leads, to spread enclaves evenly."""
