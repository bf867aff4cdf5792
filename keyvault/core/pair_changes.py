"""Who may lead a pair, and what proposals about it come to: the laws of ``pair`` (I4). Pure."""

from keyvault.core import limits
from keyvault.core.errors import Reason, Refused
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    Event,
    IncarnationStarted,
    PairSet,
    ProposalMade,
    TermStarted,
)
from keyvault.core.ids import NOBODY, Principal, UnixMillis
from keyvault.core.pair import Pair
from keyvault.core.pair_words import followers_of
from keyvault.core.proposals import Proposal
from keyvault.core.state import State
from keyvault.core.statements import Action

_WHILE_IT_STANDS = ProposalMade | BallotCast | ChangeRefused | PairSet


def check_term(state: State, event: TermStarted) -> None:
    """Raise Refused unless a term may begin on this node (2)."""
    pair = state.pair
    if event.epoch - state.epoch > limits.EPOCH_LEAP_MAX or event.epoch > limits.EPOCH_MAX:
        raise _mismatch(f"epoch {event.epoch} is too far from epoch {state.epoch}: nobody could follow it")
    if state.stands and not (event.stands and event.node == state.term_node):
        raise _mismatch(f"{state.term_node} stands here: members must name it before anybody leads")
    if event.stands and (pair is None or event.node == NOBODY):
        raise _mismatch("a node can stand only where members named a pair, and under its own name")
    if pair is not None and not event.stands and event.node != pair.leader:
        raise _mismatch(f"{event.node or 'a server without a name'} does not lead: members named {pair.leader}")


def check_permitted(state: State, event: Event) -> None:
    """Raise Refused unless this may be said in the present term (2, 3, 5); ``check_asked``: of what is asked."""
    if state.stands and not isinstance(event, _WHILE_IT_STANDS):
        raise _stands(state)
    if is_over(state):
        raise _mismatch("this term is over: members named another leader")
    if is_unproven(state) and not isinstance(event, _WHILE_IT_STANDS | IncarnationStarted):
        raise _mismatch(f"nobody waited for {state.term_node} before it was named: members must give up what it lacks")


def check_asked(state: State, action: Action) -> None:
    """Raise Refused unless members may be asked for this, and speak about it, in the present term (2)."""
    if state.stands and action is not Action.PAIR_SET:
        raise _stands(state)


def is_over(state: State) -> bool:
    """Return whether the term of the last TermStarted can go on: not when another node was named since (3)."""
    return state.pair is not None and not state.stands and state.term_node != state.pair.leader


def is_unproven(state: State) -> bool:
    """Return whether nobody knows what the leader's ledger lacks, and members did not give it up yet (5)."""
    pair = state.pair
    if pair is None:
        return False
    if state.stands:
        return pair.unproven or state.term_node not in pair.nodes
    return pair.unproven and not any(each.index > pair.index for each in state.incarnations)


def is_about_the_lead(event: Event) -> bool:
    """Return whether the fact could stand while a node stands, or begin its term: all that ``State.aside`` can take."""
    return isinstance(event, _WHILE_IT_STANDS | TermStarted)


def pair_set(state: State, proposal: Proposal, at: UnixMillis) -> PairSet:
    """Return what a proposal about the lead comes to; raise Refused if it does not fit the state."""
    statement = proposal.statement
    leader, followers = Principal(statement["leader"]), followers_of(statement["followers"])
    if int(statement["epoch"]) != state.epoch:
        raise _mismatch(f"the statement is for epoch {statement['epoch']}, the ledger is in epoch {state.epoch}")
    if (statement["stands"] == "yes") != state.stands:
        raise _mismatch("the statement says otherwise whether the node stands")
    if state.stands:
        _check_place(state, proposal)
    may_lead = {state.term_node} if state.stands or state.pair is None else set(state.pair.nodes)
    if not state.stands and state.term_node not in (leader, *followers):
        raise _mismatch(f"{state.term_node} must stay until another leads: it may be the only one that has this word")
    if leader not in may_lead:
        raise _mismatch(f"{leader} cannot lead now: only {' or '.join(sorted(filter(None, may_lead))) or 'a node'} can")
    present = None if state.pair is None else (state.pair.leader, state.pair.followers)
    if not state.stands and present == (leader, followers):
        raise _mismatch("it is so already")
    return PairSet(
        at=at,
        epoch=state.epoch,
        leader=leader,
        followers=followers,
        proposal=proposal.id,
        charter_sha256=state.charter_sha256,
    )


def apply_pair(state: State, index: int, event: PairSet) -> None:
    """Let these nodes be the pair."""
    before = () if state.pair is None or state.stands else state.pair.nodes
    unproven = is_unproven(state)
    state.pair = Pair(leader=event.leader, followers=event.followers, index=index, before=before, unproven=unproven)
    state.stands = False


def _check_place(state: State, proposal: Proposal) -> None:
    if not state.whole:  # evidence does not have the last decision; the audit of the whole ledger has
        return
    position = int(proposal.statement["position"])
    if position != state.decided or int(proposal.statement["decided_at_ms"]) != state.decided_at:
        last = f"entry {state.decided - 1} of {state.decided_at} ms"
        raise _mismatch(f"the last decision is {last}: the statement names another")


def _stands(state: State) -> Refused:
    return _mismatch(f"{state.term_node} stands: nothing is decided until members name who leads")


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
