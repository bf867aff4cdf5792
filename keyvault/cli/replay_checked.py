"""Whether a replay's report is worth showing to members: of this ledger, nearly to its end, and not empty."""

from pathlib import Path

from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import printable
from keyvault.cli.replay_report import Report, read_text
from keyvault.client import AsyncClient, SignatureMismatch
from keyvault.core import limits
from keyvault.core.events import SignatureEscalated, SignatureIssued, SignatureRefused
from keyvault.ledger.codec import decode

_ANYWAY = "or say --short-replay: members read how much it is about"
_REQUESTS = (SignatureIssued, SignatureRefused, SignatureEscalated)


async def check_replay(client: AsyncClient, path: Path, report: Report, enclave: str, *, short: bool) -> None:
    """Raise UsageProblem for a report of another ledger; unless ``short``, for an empty one or one that ends early."""
    if report.enclave != enclave:
        problem = f"is about enclave {printable(report.enclave)}, and this is {enclave}"
        raise UsageProblem(f"{path}: {problem}. Make it again from a copy of its ledger")
    await _check_ledger(client, path, report)
    if short:
        return
    read, head = report.read, (await client.checkpoint()).checkpoint.size
    if head - read.entries > max(limits.REPLAY_BEHIND_ENTRIES, head // 10):
        problem = f"ends early: it read {read.entries} entries, and the ledger has {head}"
        raise UsageProblem(f"{path}: {problem}. Make it again from a newer copy, without --entries; {_ANYWAY}")
    if not read.requests and await _has_requests(client, head):
        problem = f"is empty ({read_text(read)}), and the ledger has requests"
        raise UsageProblem(f"{path}: {problem}. Make it again with a longer --since; {_ANYWAY}")


async def _check_ledger(client: AsyncClient, path: Path, report: Report) -> None:
    try:
        await client.consistency_proof(report.read.entries, old_root=report.root)
    except SignatureMismatch:
        problem = f"was made from another ledger: its first {report.read.entries} entries are not those of this enclave"
        raise UsageProblem(f"{path}: {problem}. Make it again from a copy of this one") from None


async def _has_requests(client: AsyncClient, head: int) -> bool:
    async for entry in client.entries(max(0, head - limits.REPLAY_TAIL_ENTRIES)):
        if isinstance(decode(entry.body), _REQUESTS):
            return True
    return False
