"""The SDK while its server is killed: nothing is lost, nothing is signed twice."""

import asyncio
import hashlib
import signal
from collections.abc import Awaitable
from pathlib import Path

import pytest

from keyvault.client import AsyncClient, Credentials, MemberKey, Signed, payloads
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Policy, Rule, Verdict
from keyvault.core.proposals import Outcome
from tests.client.several import refusing
from tests.deployment import Deployment, new_deployment, served, start_server, stop_server

ALLOW_DIGESTS = Rule(
    id="digests",
    verdict=Verdict.ALLOW,
    keys=frozenset({"signer"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.RAW_DIGEST}),
    operations=frozenset({Operation.OPAQUE}),
)


def client(deployment: Deployment, name: str, *others: str) -> AsyncClient:
    folder = deployment.dir
    files = folder / "certs" / f"{name}.crt", folder / "certs" / f"{name}.key"
    credentials = Credentials.from_files(folder / "ca" / "ca.crt", *files)
    addresses = (f"127.0.0.1:{deployment.port}", *others)
    return AsyncClient(addresses, credentials, enclave="hot", deadline_s=60, attempt_deadline_s=None if others else 5)


async def prepare(deployment: Deployment) -> None:
    """Let every bot sign digests with the key ``signer``."""
    member, other = (MemberKey.from_file(name, deployment.dir / "members" / f"{name}.key") for name in ("alice", "bob"))
    async with client(deployment, "admin-alice") as admin:
        await admin.create_key("signer", KeyAlgorithm.P256, signer=member, approvers=[other])
        version = (await admin.get_policy()).policy.version + 1
        policy = Policy(version=version, rules=(ALLOW_DIGESTS,), limits=())
        published = await admin.settled(await admin.publish_policy(policy, signer=member, approvers=[other]))
        assert published.outcome is Outcome.EXECUTED


def come_back_at(deployment: Deployment, address: str) -> None:
    """Let the next server of this deployment listen there."""
    text = deployment.config.read_text().replace("127.0.0.1:0", address)
    deployment.config.write_text(text)


async def burst(bot: AsyncClient, begun: asyncio.Event) -> list[Signed]:
    """Sign 2 000 digests, one half one by one and one half streamed; say when the first ten are answered."""
    answered = 0

    async def counted(work: Awaitable[Signed]) -> Signed:
        nonlocal answered
        signed = await work
        answered += 1
        if answered == 10:
            begun.set()
        return signed

    digests = [hashlib.sha256(number.to_bytes(2, "big")).digest() for number in range(2_000)]
    async with bot.stream() as stream:
        alone = [asyncio.create_task(bot.sign_digest("signer", digest)) for digest in digests[:1_000]]
        streamed = [await stream.submit("signer", payloads.raw_digest(digest)) for digest in digests[1_000:]]
        return await asyncio.gather(*(counted(work) for work in alone), *(counted(work) for work in streamed))


async def test_kill_in_a_burst(tmp_path: Path) -> None:
    """A server is killed in a burst and started again: every request is answered once, and alike when repeated."""
    with served(new_deployment(tmp_path / "desk")) as deployment:
        await prepare(deployment)
        come_back_at(deployment, f"127.0.0.1:{deployment.port}")
        async with client(deployment, "bot-demo") as bot:
            begun = asyncio.Event()
            working = asyncio.create_task(burst(bot, begun))
            await begun.wait()
            await asyncio.to_thread(stop_server, deployment, signal.SIGKILL)
            assert not working.done()
            await asyncio.to_thread(start_server, deployment)
            signed = await working
            await check_once(bot, signed)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_another_takes_its_place_elsewhere(tmp_path: Path, number: signal.Signals) -> None:
    """A server is killed, or stopped, in a burst and another one serves its ledger elsewhere: no caller notices."""
    with served(new_deployment(tmp_path / "desk")) as deployment:
        await prepare(deployment)
        elsewhere = refusing()
        async with client(deployment, "bot-demo", elsewhere) as bot:
            begun = asyncio.Event()
            working = asyncio.create_task(burst(bot, begun))
            await begun.wait()
            await asyncio.to_thread(stop_server, deployment, number)
            come_back_at(deployment, elsewhere)
            await asyncio.to_thread(start_server, deployment)
            signed = await working
            await check_once(bot, signed)


async def check_once(bot: AsyncClient, signed: list[Signed]) -> None:
    """Each was signed once, and what was asked again is answered by the same signature."""
    assert len({each.ledger_index for each in signed}) == len(signed) == 2_000
    for each in signed[::250]:
        again = await bot.sign_digest("signer", each.signing_input, request_id=each.request_id)
        assert (again.signature, again.ledger_index) == (each.signature, each.ledger_index)
