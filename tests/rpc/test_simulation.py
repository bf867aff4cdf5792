"""Simulate and GetQuota over real mutual TLS: the same decision as Sign, for whom it concerns, and no trace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from keyvault.client import Denied, LimitExceeded, NeedsApproval, payloads
from keyvault.core import limits
from keyvault.core.apply import apply
from keyvault.core.errors import Overloaded, Reason
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.limits_check import Quota
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_rules import Per
from keyvault.core.simulation import Simulation
from keyvault.core.state import State
from keyvault.core.tallies import Measure
from keyvault.ledger.codec import decode
from keyvault.rpc.simulation import Simulations
from keyvault.v1 import signing_pb2, types_pb2
from tests.intents.building import dynamic_fee
from tests.rpc.governed import BOTS, SEND, Governed, governed, payload_of, refused, transfer
from tests.worlds import BOT, digest_request, policy

MAKER, TAKER = "spiffe://test.local/bot/maker", "spiffe://test.local/bot/taker"
DIGEST = payloads.raw_digest(b"d" * 32)
SMALL = Rule(
    id="small",
    verdict=Verdict.ALLOW,
    keys=frozenset({"signer"}),
    principals=frozenset({MAKER}),
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    operations=frozenset({Operation.TRANSFER}),
    chains=ANY,
    destinations=ANY,
    amount_max=ANY,
    fee_max=ANY,
)
"""The maker may send; nobody else."""
GHOST = Rule(id="ghost", verdict=Verdict.DENY, keys=frozenset({"signer"}), shadow=True)
OTHERS = Rule(
    id="others",
    verdict=Verdict.ALLOW,
    keys=frozenset({"treasury"}),
    principals=frozenset({TAKER}),
    kinds=frozenset({PayloadKind.RAW_DIGEST}),
    operations=frozenset({Operation.OPAQUE}),
)
THREE = Limit(id="three", keys=ANY, window_ms=86_400_000, count_max=3)
EACH = Limit(id="each", keys=ANY, window_ms=86_400_000, count_max=100, per=Per.DESTINATION)


@asynccontextmanager
async def serving(folder: Path, rules: Policy) -> AsyncIterator[Governed]:
    """Serve an enclave under this policy."""
    async with governed(folder) as here:
        async with here.client("admin") as admin:
            wanted = Policy(version=2, rules=rules.rules, limits=rules.limits)
            waiting = await admin.publish_policy(wanted, signer=here.alice, approvers=(here.bob, here.carol))
            here.clock.at += 2_000
            await here.enclave.govern()
            assert (await admin.get_policy()).policy.version == 2, waiting
        yield here


def folded(entries: list[bytes]) -> State:
    """Return what these entries, and nothing else, make."""
    state = State.empty()
    for index, body in enumerate(entries):
        apply(state, index, decode(body))
    return state


async def simulated(here: Governed, who: str, **more: object) -> Simulation:
    async with here.client(who) as client:
        return await client.simulate("signer", payload_of(SEND), **more)  # type: ignore[arg-type]  # names of options


async def test_it_says_what_sign_would_say(tmp_path: Path) -> None:
    """An allow names its rule, meaning, binding and slot; signing afterwards is allowed by the same rule."""
    async with serving(tmp_path, policy(SMALL, BOTS, limits=(THREE,))) as here:
        found = await simulated(here, "bot")
        assert found.decision.verdict is Verdict.ALLOW
        assert found.decision.rules == ("small",)
        assert found.meaning.words.startswith("Sends ")
        assert {"chain", "nonce"} <= set(found.meaning.binds)
        assert found.meaning.slot
        assert found.policy_version == 2
        three = Quota(
            limit="three",
            per=Per.KEY,
            group="signer",
            measure=Measure.COUNT,
            used=0,
            cap=3,
            window_ms=86_400_000,
        )
        assert [(each.quota, each.asked) for each in found.room] == [(three, 1)]
        async with here.client("bot") as bot:
            assert (await bot.sign("signer", payload_of(SEND))).ledger_index == here.enclave.size - 1


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """State, windows, ledger, refusal budget and the token are the same before and after, whatever the verdict."""
    async with serving(tmp_path, policy(SMALL, BOTS, GHOST, limits=(THREE, EACH))) as here:
        async with here.client("bot") as bot:
            await bot.sign("signer", DIGEST, request_id="first")
        before = here.enclave.size, len(here.token.signed)
        entries = here.enclave.entries(0, 100)
        async with here.client("bot") as bot, here.client("admin") as admin:
            for _ in range(50):
                await bot.simulate("signer", payload_of(SEND))
            refusal = await admin.simulate("signer", payload_of(SEND), principal=TAKER)
            assert refusal.decision.verdict is Verdict.DENY
            await bot.quotas("signer")
            assert (here.enclave.size, len(here.token.signed)) == before
            assert here.enclave.entries(0, 100) == entries
            assert here.enclave.state == folded(entries)
            assert [each.used for each in await bot.quotas("signer")] == [1]


async def test_a_refusal_is_an_answer(tmp_path: Path) -> None:
    """A no by rules comes with the reason, the explanation, and every rule's outcome."""
    async with serving(tmp_path, policy(SMALL, BOTS, GHOST)) as here:
        found = await simulated(here, "auditor", principal=TAKER)
        assert found.decision.verdict is Verdict.DENY
        assert found.decision.reason is Reason.NO_RULE_ALLOWS
        assert "rule small would allow it but for: principal" in found.decision.explanation
        told = {each.rule: each for each in found.outcomes}
        assert told["bots"].effect is None
        assert told["bots"].why_not == "is not for evm-transaction"
        assert not told["small"].matches
        assert (told["ghost"].shadow, told["ghost"].matches) == (True, True)


async def test_a_limit_that_is_full_is_an_answer(tmp_path: Path) -> None:
    """A no by a limit says used, cap and what this asks; Sign then says the same."""
    async with (
        serving(tmp_path, policy(BOTS, limits=(Limit(id="one", keys=ANY, window_ms=1_000, count_max=1),))) as here,
        here.client("bot") as bot,
    ):
        await bot.sign("signer", DIGEST)
        found = await bot.simulate("signer", DIGEST)
        assert found.decision.reason is Reason.LIMIT_EXCEEDED
        assert [(each.quota.used, each.quota.cap, each.asked) for each in found.room] == [(1, 1, 1)]
        with pytest.raises(LimitExceeded) as full:
            await bot.sign("signer", DIGEST)
        assert found.decision.explanation in str(full.value)


async def test_an_escalation_says_whom_it_needs_and_asks_nobody(tmp_path: Path) -> None:
    """What policy leaves to members names the quorum and no proposal is made; once there is one, it is named."""
    async with governed(tmp_path) as here:
        found = await simulated(here, "bot", request_id="order-1")
        assert (found.decision.verdict, found.decision.quorums) == (Verdict.ESCALATE, ("1 of admins",))
        assert (found.decision.rules, found.decision.proposal) == (("ask",), "")
        assert not here.enclave.state.proposals.open
        async with here.client("bot") as bot:
            with pytest.raises(NeedsApproval) as waiting:
                await bot.sign("signer", payload_of(SEND), request_id="order-1")
        again = await simulated(here, "bot", request_id="order-1")
        assert (again.decision.verdict, again.decision.reason) == (Verdict.ESCALATE, Reason.NEEDS_APPROVAL)
        assert again.decision.proposal == waiting.value.proposal


async def test_a_bot_asks_about_itself_only(tmp_path: Path) -> None:
    """ATTACK: another's principal, and a key that no rule lets the bot use, are refused, alike where there is none."""
    async with serving(tmp_path, policy(SMALL, BOTS, OTHERS)) as here:
        async with here.client("bot") as bot:
            for call in (
                bot.simulate("signer", DIGEST, principal=TAKER),
                bot.quotas("signer", principal=TAKER),
            ):
                with pytest.raises(Denied) as denied:
                    await call
                assert denied.value.reason == Reason.NOT_AUTHORIZED
            texts = []
            for key in ("treasury", "nobody"):
                for call in (bot.simulate(key, DIGEST), bot.quotas(key)):
                    with pytest.raises(Denied) as denied:
                        await call
                    texts.append(str(denied.value).replace(key, "it"))
            assert len(set(texts)) == 1
        async with here.client("approver") as approver:
            with pytest.raises(Denied):
                await approver.simulate("signer", DIGEST, principal=MAKER)


async def test_a_bot_sees_nothing_of_others(tmp_path: Path) -> None:
    """ATTACK: rules about others, and what they used of limits per destination, are told to auditors, to no bot."""
    async with serving(tmp_path, policy(SMALL, BOTS, OTHERS, limits=(EACH,))) as here:
        async with here.client("bot") as bot:
            await bot.sign("signer", payload_of(SEND))
        async with here.client("other_bot") as other, here.client("auditor") as auditor:
            assert await other.quotas("signer") == ()
            found = await other.simulate("signer", payload_of(dynamic_fee(nonce=b"\x08")))
            assert {each.rule for each in found.outcomes} == set()
            assert found.room == ()
            seen = await auditor.quotas("signer", principal=TAKER)
            assert [(each.limit, each.used) for each in seen] == [("each", 1)]
            whole = await auditor.simulate("signer", payload_of(dynamic_fee(nonce=b"\x08")), principal=TAKER)
            assert {each.rule for each in whole.outcomes} == {"small", "bots", "others"}


async def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A malformed payload, principal or name has its status, as of Sign."""
    async with governed(tmp_path) as here, here.signing("bot") as stub:
        payload = types_pb2.Payload(raw_digest=b"short")
        request = signing_pb2.SignRequest(key="enclaves/hot/keys/signer", payload=payload)
        error = await refused(stub.Simulate(signing_pb2.SimulateRequest(request=request)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        error = await refused(
            stub.Simulate(signing_pb2.SimulateRequest(request=transfer("r", SEND), principal="somebody"))
        )
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        error = await refused(stub.GetQuota(signing_pb2.GetQuotaRequest(key="enclaves/cold/keys/signer")))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_caller_has_so_many_under_way_at_most(tmp_path: Path) -> None:
    """I9: simulations give way to signing, and are bounded for each caller; when they end there is room again."""
    rules = tuple(
        Rule(id=f"no-{n}", verdict=Verdict.DENY, principals=frozenset({TAKER}), chains=frozenset({n + 1}))
        for n in range(200)
    )
    async with serving(tmp_path, policy(BOTS, *rules)) as here:
        asked, command = Simulations(here.enclave, here.clock), digest_request("r")
        many = [asked.simulate(BOT, command) for _ in range(limits.PRINCIPAL_SIMULATIONS_MAX + 1)]
        *answers, last = await asyncio.gather(*many, return_exceptions=True)
        assert all(isinstance(each, Simulation) for each in answers)
        assert isinstance(last, Overloaded)
        assert (await asked.simulate(BOT, command)).decision.verdict is Verdict.ALLOW
