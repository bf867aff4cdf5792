"""What governance costs the signing, and how long it takes itself.

The same load on an enclave of three members without a proposal, and on one of a thousand with ten thousand open ones,
in turns; then a proposal that ten members approve, and a freeze under load.

The large enclave is made by hand: its genesis has the members, its proposals are appended through the store while
nobody serves it, each with its asker's own signature. Recovery checks them like any others.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ed25519

from keyvault.bench import machine
from keyvault.bench.options import ALGORITHMS, CONCURRENCY, Figure, Kind, Plan
from keyvault.bench.prefill import append
from keyvault.bench.processes import ENCLAVE, BenchFailed, Desk, Served, new_desk, serving
from keyvault.bench.report import rounded
from keyvault.bench.requests import RequestIds, key_of
from keyvault.bench.rounds import Samples, Target
from keyvault.bench.setup import publish_policy, set_up
from keyvault.client import AsyncClient, MemberKey, say
from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.charter import AT_ONCE, Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.events import Genesis, ProposalMade
from keyvault.core.ids import Epoch, GroupName, MemberName, UnixMillis
from keyvault.core.proposals import Outcome
from keyvault.core.quorum import Of
from keyvault.core.state import State
from keyvault.core.statements import Action, FreezeScope, Statement
from keyvault.engine.genesis import write_genesis
from keyvault.ledger import codec
from keyvault.store.sqlite import open_store

_KIND = Kind.P256
_NONE, _MANY = "none", "many"
_WARM_UP_S = 0.5
_APPROVALS = 10
_MEMBERS_GROUP = GroupName("everybody")
_FREEZE_AFTER_S = 0.3
"""Load before the freeze is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much governance there is."""

    members: int
    proposals: int


FULL = Scale(members=1_000, proposals=10_000)
QUICK = Scale(members=100, proposals=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruled:
    """A deployment with the keys of its members."""

    desk: Desk
    members: tuple[MemberKey, ...]


async def measure(plan: Plan, scratch: Path, scale: Scale) -> dict[str, Figure]:
    """Return what open proposals cost the signing, what ten approvals take, and how soon a freeze stops everything."""
    began = time.monotonic()
    ruled = {_NONE: await _small(scratch / _NONE), _MANY: await _large(scratch / _MANY, scale)}
    prepared_s = time.monotonic() - began
    samples, ids = Samples(), RequestIds()
    async with AsyncExitStack() as opened:
        served = {name: await opened.enter_async_context(serving(each.desk)) for name, each in ruled.items()}
        targets = {name: Target(ruled[name].desk, served[name], samples, ids=ids) for name in ruled}
        for target in targets.values():
            opened.push_async_callback(target.close)
        await _rounds(plan, targets)
        approvals = [await _approve(ruled[_MANY], served[_MANY]) for _ in range(plan.rounds)]
        freezes = [await _freeze(ruled[_MANY], served[_MANY], targets[_MANY], n) for n in range(plan.rounds)]
        return {
            "members": scale.members,
            "open_proposals": scale.proposals,
            "prepared_s": round(prepared_s, 1),
            "recovery_s": served[_MANY].recovery_s,
            "without": _side(_NONE, samples, served[_NONE]),
            "with": _side(_MANY, samples, served[_MANY]),
            "with/without": {
                "unary_per_s": _ratio(samples, "unary"),
                "stream_per_s": _ratio(samples, "stream"),
            },
            "ten_approvals_ms": {
                "each_ballot": round(median(each for one in approvals for each in one[:-1]) * 1e3, 2),
                "last_ballot_and_execution": round(median(one[-1] for one in approvals) * 1e3, 2),
                "all_ballots": round(median(sum(one) for one in approvals) * 1e3, 2),
            },
            "freeze_ms": {
                "command_to_last_signature": round(median(each[0] for each in freezes) * 1e3, 2),
                "command_to_answer": round(median(each[1] for each in freezes) * 1e3, 2),
                "worst_last_signature": round(max(each[0] for each in freezes) * 1e3, 2),
            },
            "errors": {name: count for name, count in samples.errors.items() if not name.startswith("freeze")},
        }


def _ratio(samples: Samples, what: str) -> float | None:
    return rounded(*(samples.median(f"{name} {what}", "per_s") for name in (_MANY, _NONE)))


def _side(name: str, samples: Samples, served: Served) -> dict[str, Figure]:
    return {
        "unary_per_s": round(samples.median(f"{name} unary", "per_s")),
        "unary_p99_us": round(samples.median(f"{name} unary", "p99_us")),
        "stream_per_s": round(samples.median(f"{name} stream", "per_s")),
        "server_rss_mb": machine.rss_mb(served.pid),
    }


async def _rounds(plan: Plan, targets: Mapping[str, Target]) -> None:
    for target in targets.values():
        await target.warm_up(_KIND, seconds=_WARM_UP_S)
    for number in range(plan.rounds):
        # Whoever comes first has a colder machine: they take turns.
        names = list(targets)[:: 1 if number % 2 else -1]
        for name in names:
            await targets[name].unary(f"{name} unary", _KIND, concurrency=CONCURRENCY, seconds=plan.seconds)
        for name in names:
            await targets[name].stream(f"{name} stream", _KIND, seconds=plan.seconds)


# Ten approvals, and a freeze ------------------------------------------------------------------------------------------


async def _approve(ruled: _Ruled, served: Served) -> list[float]:
    """Return how long each of ten ballots took, in seconds; the last one carries the proposal out."""
    asker, *others = ruled.members
    async with _client(ruled, served) as client:
        enclave = await client.get_enclave()
        said = client.make_statement(
            enclave, Action.CEREMONY_STEP, _step(secrets.token_bytes(32)), requester=asker.member
        )
        proposal = await client.propose(said, asker)
        took = []
        for member in others[:_APPROVALS]:
            began = time.perf_counter()
            proposal = await client.cast(proposal, Voice.APPROVE, member)
            took.append(time.perf_counter() - began)
    if proposal.outcome is not Outcome.EXECUTED:
        raise BenchFailed(f"ten approvals were given and the proposal is {proposal.outcome}")
    return took


async def _freeze(ruled: _Ruled, served: Served, target: Target, number: int) -> tuple[float, float]:
    """Return the seconds from a freeze of the enclave to the last signature, and to the freeze's own answer."""
    asker, *others = ruled.members
    async with _client(ruled, served) as client:
        await client.get_enclave()
        load = asyncio.create_task(target.last_answer(_KIND, seconds=4 * _FREEZE_AFTER_S))
        await asyncio.sleep(_FREEZE_AFTER_S)
        began = time.perf_counter()
        await client.freeze(FreezeScope.ENCLAVE, "", signer=asker)
        answered = time.perf_counter() - began
        last = await load - began
        lifted = await client.thaw(FreezeScope.ENCLAVE, "", signer=asker, approvers=others[:1])
    if lifted.outcome is not Outcome.EXECUTED:
        raise BenchFailed(f"freeze {number} was not lifted: {lifted.outcome}")
    return max(last, 0.0), answered


def _client(ruled: _Ruled, served: Served) -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{served.port}", ruled.desk.credentials("admin", "alice"), enclave=ENCLAVE)


# Deployments ----------------------------------------------------------------------------------------------------------


async def _small(folder: Path) -> _Ruled:
    desk = await new_desk(folder)
    async with serving(desk) as served:
        await set_up(desk, served)
    return _Ruled(desk=desk, members=desk.members())


async def _large(folder: Path, scale: Scale) -> _Ruled:
    """Make a deployment with so many members, keys and a policy, then fill it with proposals."""
    desk = await new_desk(folder)
    members = tuple(MemberKey(f"m{number}", ed25519.Ed25519PrivateKey.generate()) for number in range(scale.members))
    _rule(desk.ledger, _charter(members))
    ruled = _Ruled(desk=desk, members=members)
    async with serving(desk) as served, _client(ruled, served) as client:
        await publish_policy(client, members[0], members[1:2])
        await client.create_key(key_of(_KIND), ALGORITHMS[_KIND], signer=members[0], approvers=members[1:2])
    append(desk.ledger, lambda state, epoch: _proposals(state, epoch, members, scale.proposals))
    return ruled


def _rule(ledger: Path, charter: Charter) -> None:
    """Begin the ledger anew, with other members."""
    store = open_store(ledger, create=False)
    genesis = codec.decode(store.read(0, 1)[0])
    store.close()
    if not isinstance(genesis, Genesis):
        raise BenchFailed("entry 0 is no genesis")
    for path in ledger.parent.glob(f"{ledger.name}*"):
        path.unlink()
    store = open_store(ledger, create=True)
    try:
        document = codec.encode_charter(charter)
        write_genesis(store, replace(genesis, charter=charter, charter_document=document))
    finally:
        store.close()


def _charter(members: Sequence[MemberKey]) -> Charter:
    """Return a charter in which everybody is an admin; a ceremony's step needs ten."""
    names = [MemberName(member.member) for member in members]

    def threshold(duty: Duty) -> Threshold:
        many = _APPROVALS if duty is Duty.CEREMONY else 1
        delay_ms = 1 if duty is Duty.POLICY_LOOSEN else 0
        return Threshold(duty=duty, quorum=Of(1 if duty in AT_ONCE else many, _MEMBERS_GROUP), delay_ms=delay_ms)

    return Charter(
        version=1,
        members=tuple(
            Member(name=name, roles=frozenset({Role.ADMIN}), public_keys=(member.public_key,))
            for name, member in zip(names, members, strict=True)
        ),
        groups=(Group(name=_MEMBERS_GROUP, members=frozenset(names)),),
        thresholds=tuple(threshold(duty) for duty in Duty if duty is not Duty.BREAK_GLASS),
    )


def _step(record: bytes) -> dict[str, str]:
    return {"ceremony": "bench", "step": "1", "record_sha256": record.hex()}


def _proposals(state: State, epoch: Epoch, members: Sequence[MemberKey], count: int) -> Iterator[ProposalMade]:
    """Yield so many proposals that nobody has approved, from as many members as it takes."""
    now = UnixMillis(time.time_ns() // 1_000_000)
    askers = members[: -(-count // limits.PRINCIPAL_PROPOSALS_MAX) + 1]
    for number in range(count):
        asker = askers[number % len(askers)]
        statement = Statement(
            action=Action.CEREMONY_STEP,
            enclave=state.enclave,
            enclave_id=state.enclave_id.hex(),
            policy_version=state.policy.version,
            requester=asker.member,
            parameters=tuple(sorted(_step(secrets.token_bytes(32)).items())),
            nonce=secrets.token_hex(16),
            expires_at=UnixMillis(now + limits.PROPOSAL_LIFE_MS),
        ).encode()
        yield ProposalMade(at=now, epoch=epoch, statement=statement, signature=say(statement, Voice.REQUEST, asker))
