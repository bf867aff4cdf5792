"""The SDK against the real server: SoftHSM, SQLite, policy, mutual TLS."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from eth_account import Account
from eth_account.messages import encode_typed_data

from keyvault import client as sdk
from keyvault.client import payloads
from keyvault.core.keys import KeyAlgorithm, KeyState
from keyvault.core.policy import Policy
from keyvault.core.proposals import Outcome
from keyvault.hsm.create import CreatedToken, create_token
from keyvault.ledger.codec import decode
from keyvault.ledger.note import parse_vkey, verifier
from tests.client.real import RealServer, real_server
from tests.intents.building import dynamic_fee, mail

DIGEST = b"d" * 32
SECRET = b"an exchange's API secret"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> CreatedToken:
    """A token to copy: its RSA key takes a while."""
    return create_token(tmp_path_factory.mktemp("token"), "hot")


@pytest.fixture
async def server(token: CreatedToken, tmp_path: Path) -> AsyncIterator[RealServer]:
    """A server of this test's own."""
    async with real_server(token, tmp_path) as running:
        yield running


def order() -> str:
    return f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&timestamp={time.time_ns() // 1_000_000}"


async def test_every_kind_of_signature(server: RealServer) -> None:
    """Keys are made and a secret imported by a member; a bot gets each kind of signature, and wallets agree."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        await admin.create_key("eth", KeyAlgorithm.SECP256K1, signer=server.member, approvers=server.others)
        eth = await admin.get_key("eth")
        await admin.create_key("p256", KeyAlgorithm.P256, signer=server.member, approvers=server.others)
        await admin.create_key("ed", KeyAlgorithm.ED25519, signer=server.member, approvers=server.others)
        await admin.import_hmac_key("hmac", SECRET, signer=server.member, approvers=server.others)
        imported = await admin.get_key("hmac")
        assert (imported.public_key, imported.state) == (b"", KeyState.ACTIVE)
        assert [key.key for key in await admin.list_keys()] == ["ed", "eth", "hmac", "p256"]
        transaction = await bot.sign_evm_transaction("eth", dynamic_fee())
        assert Account.recover_transaction(transaction.raw_transaction) == eth.ethereum_address
        typed = await bot.sign_typed_data("eth", mail())
        recovered = Account.recover_message(encode_typed_data(full_message=mail()), signature=typed.rsv)
        assert recovered == eth.ethereum_address
        await bot.sign_digest("p256", DIGEST)
        await bot.sign_binance("ed", query=order())
        query = order()
        signed = await bot.sign_binance("hmac", query=query)
        assert signed.signature == hmac.digest(SECRET, query.encode(), hashlib.sha256)
        assert signed.query == f"{query}&signature={signed.signature.hex()}"


async def test_one_answer_for_ever(server: RealServer) -> None:
    """The same request again gives the identical signature; other bytes under its id are refused; so is a refusal's."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        await admin.create_key("eth", KeyAlgorithm.SECP256K1, signer=server.member, approvers=server.others)
        first = await bot.sign_evm_transaction("eth", dynamic_fee(), request_id="order-1")
        again = await bot.sign_evm_transaction("eth", dynamic_fee(), request_id="order-1")
        assert first == again
        with pytest.raises(sdk.RequestIdReused):
            await bot.sign_evm_transaction("eth", dynamic_fee(value=b"\x02"), request_id="order-1")
        refusals = []
        for _ in range(2):
            with pytest.raises(sdk.Denied) as caught:
                await bot.sign_digest("eth", DIGEST, request_id="blind")
            refusals.append((caught.value.reason, caught.value.message))
        assert refusals[0] == refusals[1]
        assert refusals[0][0] == "NO_RULE_ALLOWS"


async def test_life_of_a_key(server: RealServer) -> None:
    """A disabled key signs nothing until it is enabled; one member disables, enabling needs another one."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        await admin.create_key("p256", KeyAlgorithm.P256, signer=server.member, approvers=server.others)
        assert (await admin.disable_key("p256", signer=server.member)).outcome is Outcome.EXECUTED
        assert (await admin.get_key("p256")).state is KeyState.DISABLED
        with pytest.raises(sdk.PreconditionFailed) as caught:
            await bot.sign_digest("p256", DIGEST)
        assert caught.value.reason == "KEY_NOT_ACTIVE"
        await admin.enable_key("p256", signer=server.member, approvers=server.others)
        await bot.sign_digest("p256", DIGEST)
        with pytest.raises(sdk.PreconditionFailed) as caught:
            await admin.create_key("p256", KeyAlgorithm.P256, signer=server.member, approvers=server.others)
        assert caught.value.reason == "STATE_MISMATCH"
        with pytest.raises(sdk.NotFoundError):
            await bot.sign_digest("other", DIGEST)


async def test_policy_changes_by_statement(server: RealServer) -> None:
    """A published policy decides from then on, and is read back as it was written."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        await admin.create_key("p256", KeyAlgorithm.P256, signer=server.member, approvers=server.others)
        await bot.sign_digest("p256", DIGEST)
        empty = Policy(version=2, rules=(), limits=())
        published = await admin.publish_policy(empty, signer=server.member)
        assert published.outcome is Outcome.EXECUTED
        assert (await admin.get_policy()).policy == empty
        with pytest.raises(sdk.Denied):
            await bot.sign_digest("p256", DIGEST)


async def test_certificate_alone_changes_nothing(server: RealServer) -> None:
    """A stranger's statement is denied at an admin's door, and a bot does not get through that door at all."""
    somebody = sdk.MemberKey("alice", ed25519.Ed25519PrivateKey.generate())
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        with pytest.raises(sdk.Denied) as caught:
            await admin.create_key("eth", KeyAlgorithm.SECP256K1, signer=somebody, approvers=server.others)
        assert caught.value.reason == "NOT_AUTHORIZED"
        with pytest.raises(sdk.Denied):
            await bot.create_key("eth", KeyAlgorithm.SECP256K1, signer=server.member, approvers=server.others)
        assert await admin.list_keys() == ()


async def test_ledger_is_read_and_proven(server: RealServer) -> None:
    """Every signature's event is in the ledger at the index that the answer gave, and every proof holds."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        await admin.create_key("p256", KeyAlgorithm.P256, signer=server.member, approvers=server.others)
        old = (await admin.checkpoint()).checkpoint
        signed = await bot.sign_digest("p256", DIGEST, request_id="order-1")
        entries = [entry async for entry in admin.entries()]
        assert [entry.index for entry in entries] == list(range(len(entries)))
        shown = await admin.inclusion_proof(signed.ledger_index)
        assert shown.entry == entries[signed.ledger_index].body
        assert "order-1" in repr(decode(shown.entry))
        newest = await admin.consistency_proof(old.size, old_root=old.root)
        assert newest.checkpoint.size > old.size
        with pytest.raises(sdk.SignatureMismatch):
            await admin.consistency_proof(old.size, old_root=b"\0" * 32)
        with pytest.raises(sdk.NotFoundError):
            await admin.inclusion_proof(10_000)


async def test_other_enclave_is_found_out(server: RealServer) -> None:
    """Who expects another enclave or log key makes no statement and believes no checkpoint."""
    async with server.client(server.admin, expected_enclave_id=b"\0" * 32) as admin:
        with pytest.raises(sdk.SignatureMismatch):
            await admin.create_key("eth", KeyAlgorithm.SECP256K1, signer=server.member, approvers=server.others)
    async with server.client(server.admin) as admin:
        name = parse_vkey((await admin.get_enclave()).log_vkey).name
    other = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    async with server.client(server.admin, expected_log_vkey=verifier(name, other).vkey) as admin:
        with pytest.raises(sdk.SignatureMismatch):
            await admin.checkpoint()


async def test_stream(server: RealServer) -> None:
    """Hundreds of requests over one stream are all answered and verified."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        await admin.create_key("p256", KeyAlgorithm.P256, signer=server.member, approvers=server.others)
        async with bot.stream() as stream:
            digests = [hashlib.sha256(bytes((each,))).digest() for each in range(200)]
            futures = [await stream.submit("p256", payloads.raw_digest(digest)) for digest in digests]
            signed = await asyncio.gather(*futures)
        assert [each.signing_input for each in signed] == digests
        assert len({each.ledger_index for each in signed}) == len(digests)


async def test_certificate_of_another_authority(server: RealServer) -> None:
    """A client whose certificate the server does not know, or who does not know the server's, gets no answer."""
    async with server.client(server.stranger, deadline_s=0.5) as client:
        with pytest.raises(sdk.Unavailable):
            await client.sign_digest("p256", DIGEST)
    async with server.client(server.bot, server_name="elsewhere.example", deadline_s=0.5) as client:
        with pytest.raises(sdk.Unavailable):
            await client.sign_digest("p256", DIGEST)


def test_blocking_client(token: CreatedToken, tmp_path: Path) -> None:
    """Code without an event loop makes a key, signs, and reads the ledger."""

    async def serve_and_work() -> tuple[int, int]:
        async with real_server(token, tmp_path) as server:
            return await asyncio.to_thread(work, server)

    def work(server: RealServer) -> tuple[int, int]:
        target = f"localhost:{server.port}"
        with sdk.Client(target, server.admin, enclave="hot") as client:
            client.create_key("p256", KeyAlgorithm.P256, signer=server.member, approvers=server.others)
            signed = client.sign_digest("p256", DIGEST)
            return signed.ledger_index, len(list(client.entries()))

    assert asyncio.run(serve_and_work()) == (5, 6)
