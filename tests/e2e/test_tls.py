"""Who gets in: each wrong way of calling has its failure, changes nothing, and leaves the server serving."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from keyvault import client as sdk
from keyvault.cli import pki
from keyvault.core.statements import Action
from keyvault.v1 import signing_pb2_grpc
from tests.deployment import Deployment
from tests.e2e import desk
from tests.e2e.certificates import Leaf, forge
from tests.worlds import key_parameters

BOT = "spiffe://keyvault.local/bot/demo"
TIMEOUT_S = 20


def other_authority(folder: Path, _: Path) -> Leaf:
    pki.create_authority(folder / "other", "keyvault.local")
    return forge(folder / "other", BOT)


def expired(_: Path, authority: Path) -> Leaf:
    return forge(authority, BOT, ended=True)


def no_name(_: Path, authority: Path) -> Leaf:
    return forge(authority)


def web_name(_: Path, authority: Path) -> Leaf:
    return forge(authority, "https://keyvault.local/bot/demo", hosts=["bot.example"])


def two_names(_: Path, authority: Path) -> Leaf:
    return forge(authority, BOT, "spiffe://keyvault.local/admin/alice")


def other_domain(_: Path, authority: Path) -> Leaf:
    return forge(authority, "spiffe://elsewhere.example/bot/demo")


def longer_domain(_: Path, authority: Path) -> Leaf:
    return forge(authority, "spiffe://keyvault.local.example/bot/demo")


def no_role(_: Path, authority: Path) -> Leaf:
    return forge(authority, "spiffe://keyvault.local/root/demo")


def secure(deployment: Deployment, leaf: Leaf | None) -> grpc.aio.Channel:
    ca = (deployment.dir / "ca" / "ca.crt").read_bytes()
    own = (leaf.private_key, leaf.certificate) if leaf else (None, None)
    return grpc.aio.secure_channel(f"127.0.0.1:{deployment.port}", grpc.ssl_channel_credentials(ca, *own))


async def status_of(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """Return how a request that the policy allows ends."""
    async with channel:
        asked = desk.digest_request("let-me-in")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await signing_pb2_grpc.SigningServiceStub(channel).Sign(asked, timeout=TIMEOUT_S)
    return caught.value.code()


@asynccontextmanager
async def nothing_changes(deployment: Deployment) -> AsyncIterator[None]:
    """Check that the block leaves no entry in the ledger, and a server that signs."""
    before = await desk.ledger_size(deployment)
    yield
    assert await desk.ledger_size(deployment) == before
    async with desk.bot(deployment) as bot:
        signed = await bot.sign_digest("signer", hashlib.sha256(b"still there").digest())
    assert signed.ledger_index == before


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (other_authority, grpc.StatusCode.UNAVAILABLE),
        (expired, grpc.StatusCode.UNAVAILABLE),
        (no_name, grpc.StatusCode.UNAUTHENTICATED),
        (web_name, grpc.StatusCode.UNAUTHENTICATED),
        (two_names, grpc.StatusCode.UNAUTHENTICATED),
        (other_domain, grpc.StatusCode.UNAUTHENTICATED),
        (longer_domain, grpc.StatusCode.UNAUTHENTICATED),
        (no_role, grpc.StatusCode.UNAUTHENTICATED),
    ],
)
async def test_wrong_certificate(
    shared: Deployment, tmp_path: Path, make: Callable[[Path, Path], Leaf], code: grpc.StatusCode
) -> None:
    """A certificate that is not a current one of our authority with exactly one of our names gets nothing."""
    leaf = make(tmp_path, shared.dir / "ca")
    async with nothing_changes(shared):
        assert await status_of(secure(shared, leaf)) is code


async def test_no_certificate(shared: Deployment) -> None:
    """A client without a certificate gets no connection."""
    async with nothing_changes(shared):
        assert await status_of(secure(shared, None)) is grpc.StatusCode.UNAVAILABLE


async def test_plaintext(shared: Deployment) -> None:
    """A client that does not speak TLS gets no connection."""
    async with nothing_changes(shared):
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{shared.port}")
        assert await status_of(channel) is grpc.StatusCode.UNAVAILABLE


def handshake(deployment: Deployment, **limits: ssl.TLSVersion) -> str | None:
    """Return the version of TLS that the server agrees to with the bot's certificate; raise SSLError if none."""
    context = ssl.create_default_context(cafile=deployment.dir / "ca" / "ca.crt")
    certs = deployment.dir / "certs"
    context.load_cert_chain(certs / "bot-demo.crt", certs / "bot-demo.key")
    context.set_alpn_protocols(["h2"])
    for name, version in limits.items():
        setattr(context, name, version)
    with (
        socket.create_connection(("127.0.0.1", deployment.port), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        return tls.version()


async def test_old_tls(shared: Deployment) -> None:
    """TLS 1.3 is agreed on; a client that has nothing newer than TLS 1.2 is refused."""
    async with nothing_changes(shared):
        assert await asyncio.to_thread(handshake, shared) == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(handshake, shared, maximum_version=ssl.TLSVersion.TLSv1_2)


async def test_bot_at_the_admins_door(shared: Deployment) -> None:
    """A bot's certificate opens no admin or auditor call, not even with a statement that a member signed."""
    async with nothing_changes(shared), desk.bot(shared) as bot, desk.admin(shared) as admin:
        enclave = await admin.get_enclave()
        said = admin.make_statement(enclave, Action.KEY_CREATE, key_parameters("new"), requester="alice")
        calls = (
            bot.propose(said, desk.member(shared)),
            bot.list_proposals(),
            bot.get_charter(),
            bot.list_freezes(),
            bot.get_enclave(),
            bot.list_keys(),
            bot.get_key("signer"),
            bot.get_policy(),
            bot.checkpoint(),
            anext(bot.entries()),
        )
        for call in calls:
            with pytest.raises(sdk.Denied):
                await call


@pytest.mark.parametrize(
    ("purpose", "code"), [("client", grpc.StatusCode.UNAVAILABLE), ("server", grpc.StatusCode.UNIMPLEMENTED)]
)
async def test_bot_as_server(shared: Deployment, purpose: str, code: grpc.StatusCode) -> None:
    """A certificate that is not for servers is not believed from one, whatever host it names; one for servers is."""
    leaf = forge(shared.dir / "ca", BOT, hosts=["localhost"], server=purpose == "server")
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(leaf.private_key, leaf.certificate)]))
    await server.start()
    own = desk.credentials(shared, "bot-demo")
    try:
        async with sdk.AsyncClient(f"localhost:{port}", own, enclave="hot", deadline_s=1) as client:
            with pytest.raises(sdk.KeyvaultRpcError) as caught:
                await client.sign_digest("signer", bytes(32))
    finally:
        await server.stop(None)
    assert caught.value.code is code  # UNIMPLEMENTED: it serves nothing, but it was asked
