"""What a copy of the ledger says about a proposal, folded here: nothing of it is the server's word."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from keyvault import intents
from keyvault.cli.exits import AuditProblem, UsageProblem
from keyvault.client import Proposal
from keyvault.client.results import Remark
from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.familiar import slot_remarks
from keyvault.core.ids import KeyId
from keyvault.core.intent import Effect
from keyvault.core.policy_listed import listed_destinations
from keyvault.core.state import State
from keyvault.core.statements import Action
from keyvault.ledger import archive
from keyvault.ledger.codec import decode

_CHARTERS = (Action.CHARTER_CHANGE, Action.BREAK_GLASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of a ledger: where it is, how many entries it has, and the state that they fold to."""

    path: Path
    size: int
    state: State


def fold(path: Path, *, log_vkey: str | None) -> Copy:
    """Return what a ledger's database or export says, after an audit that found nothing wrong.

    Raises AuditProblem, Unreadable.
    """
    report = archive.audit(path, log_vkey=log_vkey, read=intents.parse)
    if not report.ok:
        raise AuditProblem(f"{path}: {report.problems[0].sentence}; nothing in it is believed")
    state, size = State.empty(), 0
    with closing(archive.open_archive(path)) as opened:
        for row in opened.rows():
            try:
                apply(state, size, decode(row.body))
            except (Corrupt, Malformed) as error:
                raise AuditProblem(f"{path}: entry {size} does not follow: {error}") from None
            size += 1
    return Copy(path=path, size=size, state=state)


def check_covers(copy: Copy, proposal: Proposal) -> None:
    """Raise UsageProblem unless the copy is of the proposal's ledger, and has the proposal.

    What an older or another ledger says is new, or would change, is not so.
    """
    said, state = proposal.said, copy.state
    if said.enclave_id != state.enclave_id.hex():
        raise UsageProblem(
            f"{copy.path}: is the ledger of enclave {state.enclave} with id {state.enclave_id.hex()[:12]}, the proposal"
            f" is for {said.enclave} with id {said.enclave_id[:12]}: give a copy of that ledger"
        )
    stale = f"{copy.path}: give a newer copy; in this one"
    if state.policy.version != said.policy_version:
        raise UsageProblem(
            f"{stale} policy version {state.policy.version} is in force, the proposal was made under"
            f" {said.policy_version}"
        )
    present = state.rulers.charter.version
    if said.action in _CHARTERS and said["version"] != str(present + 1):
        raise UsageProblem(f"{stale} charter version {present} is in force, the one proposed is {said['version']}")
    if copy.size <= proposal.ledger_index:
        raise UsageProblem(f"{stale} are {copy.size} entries, and the proposal is entry {proposal.ledger_index}")
    if bytes.fromhex(proposal.id) not in state.proposals.open:
        raise UsageProblem(f"{stale} the proposal is not open")


def remarks(state: State, proposal: bytes, key: str, effects: tuple[Effect, ...]) -> tuple[Remark, ...]:
    """Return what is new about these effects, which a proposal asks for, to the key of that state."""
    listed, familiar = listed_destinations(state.policy), state.familiar
    asked = state.proposals.open.get(proposal)
    slot = None if asked is None else asked.slot
    found = slot_remarks(familiar.slots, slot, effects, state.size)
    found += familiar.remarks(KeyId(key.partition("/")[0]), effects, listed)
    return tuple(Remark(effect=each.effect, mark=each.mark.value, detail=each.detail) for each in found)
