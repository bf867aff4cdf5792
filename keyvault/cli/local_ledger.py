"""What a copy of the ledger says about a proposal, folded here: nothing of it is the server's word."""

from contextlib import closing
from pathlib import Path

from keyvault import intents
from keyvault.cli.exits import AuditProblem
from keyvault.client.results import Remark
from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.familiar import listed_destinations
from keyvault.core.ids import KeyId
from keyvault.core.intent import Effect
from keyvault.core.state import State
from keyvault.ledger import archive
from keyvault.ledger.codec import decode


def fold(path: Path, *, log_vkey: str | None) -> State:
    """Return the state that a ledger's database or export folds to, after an audit that found nothing wrong.

    Raises AuditProblem, Unreadable.
    """
    report = archive.audit(path, log_vkey=log_vkey, read=intents.parse)
    if not report.ok:
        raise AuditProblem(f"{path}: {report.problems[0].sentence}; nothing in it is believed")
    state = State.empty()
    with closing(archive.open_archive(path)) as opened:
        for index, row in enumerate(opened.rows()):
            try:
                apply(state, index, decode(row.body))
            except (Corrupt, Malformed) as error:
                raise AuditProblem(f"{path}: entry {index} does not follow: {error}") from None
    return state


def remarks(state: State, key: str, effects: tuple[Effect, ...]) -> tuple[Remark, ...]:
    """Return what is new about these effects to the key of that state."""
    listed = listed_destinations(state.policy)
    found = state.familiar.remarks(KeyId(key.partition("/")[0]), effects, listed)
    return tuple(Remark(effect=each.effect, mark=each.mark.value, detail=each.detail) for each in found)
