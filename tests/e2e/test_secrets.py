"""I6: what is secret stays in the token: not in logs, arguments, environments, the ledger, or the server's memory."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from keyvault.core import limits
from keyvault.hsm.config import find_module, package_root
from tests.deployment import KEYVAULT, Deployment, start_server, stop_server
from tests.e2e import desk
from tests.e2e.processes import children, memory, read, server, workers
from tests.hsm import inspect_token
from tests.intents.building import dynamic_fee


@pytest.fixture
def busy(own: Deployment) -> Iterator[Deployment]:
    """A served deployment that has imported a secret, signed, and refused."""
    start_server(own)
    asyncio.run(work(own))
    yield own
    if own.process is not None:
        stop_server(own)


async def work(deployment: Deployment) -> None:
    async with desk.admin(deployment) as admin, desk.bot(deployment) as bot:
        desk.assert_done(await admin.import_hmac_key("another", desk.SECRET, **desk.two(deployment)))
        await bot.sign_binance("hmac", query=desk.order())
        await bot.sign_evm_transaction("eth", dynamic_fee())
        answers: desk.Answers = {}
        assert await desk.burst(deployment, desk.mixed_requests("busy", 40), answers) == {}


def pins(deployment: Deployment) -> list[bytes]:
    return [(deployment.dir / "token" / name).read_bytes().strip() for name in ("user.pin", "so.pin")]


def key_bytes(path: Path) -> list[bytes]:
    """Return a private key as it might stand in memory or in a log: PEM, DER, and a line of the PEM."""
    pem = path.read_bytes()
    key = load_pem_private_key(pem, None)
    return [pem, key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), pem.splitlines()[1]]


def test_nothing_secret_is_told(busy: Deployment) -> None:
    """I6: no PIN, imported secret or private key is in log or ledger, nor in arguments or environment of a process."""
    running = [server(busy), *children(busy)]
    assert len(running) >= 3  # the server, two workers, and whatever helps it
    told = [read(pid, "cmdline") for pid in running]
    assert all(told)
    told += [read(pid, "environ") for pid in running]  # nothing where the kernel keeps it even from its owner
    assert stop_server(busy) == 0
    told += [path.read_bytes() for path in (busy.log, *busy.dir.glob("ledger.db*"))]
    secrets = [*pins(busy), desk.SECRET, desk.SECRET.hex().encode()]
    for path in (*busy.dir.glob("certs/*.key"), *busy.dir.glob("ca/*.key"), *busy.dir.glob("members/*.key")):
        secrets += key_bytes(path)
    assert [(secret, text) for text in told for secret in secrets if secret in text] == []


def test_nothing_secret_is_in_the_servers_memory(busy: Deployment) -> None:
    """I6: the server's memory holds what it was asked to sign, but no PIN, imported secret, or key of others."""
    held = memory(server(busy))
    assert b"busy-39" in held  # a request id: we do read the memory
    foreign = [*busy.dir.glob("certs/bot-*.key"), *busy.dir.glob("ca/*.key"), *busy.dir.glob("members/*.key")]
    secrets = [*pins(busy), desk.SECRET, *(each for path in foreign for each in key_bytes(path))]
    assert [secret for secret in secrets if secret in held] == []


def test_workers_leave_no_core(own: Deployment) -> None:
    """No worker dumps core, though the server may as far as the machine lets it; and none can gain privileges."""
    start_server(own, command=("sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh", *KEYVAULT))
    assert len(workers(own)) == 2
    for pid in workers(own):
        line = next(line for line in read(pid, "limits").decode().splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]
        assert b"NoNewPrivs:\t1" in read(pid, "status")
        assert Path(f"/proc/{pid}").stat().st_uid == 0  # not dumpable: the kernel gives its files to root
    assert stop_server(own) == 0


def test_keys_of_the_deployment_stay_in_its_token(own: Deployment) -> None:
    """I6: every private and secret key in the token is sensitive and can neither be read, wrapped nor opened up."""
    found = inspected(own)
    keys = len(desk.KEYS) + 1
    assert len(found) == keys + 2  # and the log key and the import key
    for about in found.values():
        assert (about["PRIVATE"], about["SENSITIVE"], about["EXTRACTABLE"]) == ("True", "True", "False")
        assert (about["read"], about["DERIVE"]) == ("AttributeSensitive", "False")
        assert about["wrap"] in {"KeyUnextractable", "KeyNotWrappable", "PKCS11Error"}
        assert about["reveal"] in {"AttributeReadOnly", "PKCS11Error"}
    generated = [about for about in found.values() if about["NEVER_EXTRACTABLE"] == "True"]
    assert len(generated) == keys + 1  # all but the imported secret, which was outside once


def inspected(deployment: Deployment) -> dict[str, dict[str, str]]:
    """Return what a PKCS#11 client with the PIN sees. Ids of our keys are hashes and are shown as numbers."""
    token = deployment.dir / "token"
    done = subprocess.run(
        (sys.executable, inspect_token.__file__, str(find_module()), "hot", str(token / "user.pin")),
        env={"SOFTHSM2_CONF": str(token / "softhsm2.conf"), "PYTHONPATH": package_root()},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    assert len(found) <= limits.KEYS_MAX
    return found
