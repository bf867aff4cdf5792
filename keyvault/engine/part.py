"""What a node of a pair does, by its own ledger (``core.pair``); nothing else decides it."""

from enum import Enum, auto

from keyvault.core.ids import NOBODY, Principal
from keyvault.core.state import State


class Part(Enum):
    """What a node does."""

    FOLLOWS = auto()
    LEADS = auto()
    STANDS = auto()


def part_of(state: State, own: Principal, *, will_stand: bool, was_fed: bool = False) -> Part:
    """Return the part of this node.

    ``will_stand``: it was told to, and has not begun to. ``was_fed``: another node gave it entries once.
    """
    if not state.size:
        return Part.FOLLOWS
    if state.stands:
        return Part.STANDS if state.term_node == own else Part.FOLLOWS
    if will_stand:
        return Part.STANDS
    leader = state.term_node if state.pair is None else state.pair.leader
    # A ledger in which no node ever led is that of the server that it was begun on, not of one that was given it.
    begins = state.pair is None and leader == NOBODY and not was_fed
    return Part.LEADS if leader == own or begins else Part.FOLLOWS


def may_stand(state: State, own: Principal, after: int) -> bool:
    """Return whether a node that was told to stand after this epoch can: now, or not before it starts again."""
    return state.epoch == after and state.pair is not None and own != NOBODY and not state.stands
