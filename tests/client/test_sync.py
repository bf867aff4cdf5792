import asyncio
import concurrent.futures
import inspect

import pytest

from keyvault.client import AsyncClient, Client, Credentials, Denied, payloads
from tests.client.scripted import DENIED, UNAVAILABLE, ScriptedServer, Time

DIGEST = b"d" * 32


def blocking(server: ScriptedServer, time: Time) -> Client:
    return Client(f"localhost:{server.port}", server.credentials, enclave="hot", timing=time.timing)


async def test_same_as_the_asynchronous_client(server: ScriptedServer, time: Time) -> None:
    """The blocking client signs, retries, verifies and raises as the other one does, from a thread without a loop."""
    server.script.extend((UNAVAILABLE, lambda honest: honest, DENIED))

    def work() -> bytes:
        with blocking(server, time) as client:
            signed = client.sign_digest("eth", DIGEST, request_id="order-1")
            with pytest.raises(Denied):
                client.sign_digest("eth", DIGEST)
            return signed.signing_input

    assert await asyncio.to_thread(work) == DIGEST
    assert len(server.requests) == 3
    assert time.slept == [0.15]


async def test_stream_of_blocking_code(server: ScriptedServer, time: Time) -> None:
    """Submitted requests are pipelined, and their futures are those of blocking code."""

    def work() -> list[bytes]:
        with blocking(server, time) as client, client.stream() as stream:
            futures = [stream.submit("eth", payloads.raw_digest(bytes((each,)) * 32)) for each in range(1, 9)]
            done, _ = concurrent.futures.wait(futures, timeout=30)
            return sorted(future.result().signing_input for future in done)

    assert await asyncio.to_thread(work) == [bytes((each,)) * 32 for each in range(1, 9)]
    assert server.calls == 1


def test_nothing_is_left_out() -> None:
    """Every public method of the asynchronous client exists here, with the same arguments and sentence."""
    names = [name for name, _ in inspect.getmembers(AsyncClient, inspect.iscoroutinefunction) if name[0] != "_"]
    inner = {"verify"}  # what streams use
    for name in set(names) - inner:
        assert inspect.signature(getattr(Client, name)) == inspect.signature(getattr(AsyncClient, name)), name
        assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__
    assert {"entries", "stream"} <= set(dir(Client))


def test_outside_of_its_block() -> None:
    """A client that is not open refuses to work instead of hanging."""
    client = Client("localhost:1", Credentials(ca=b"", certificate=b"", private_key=b""), enclave="hot")
    with pytest.raises(RuntimeError):
        client.sign_digest("eth", DIGEST)
    with pytest.raises(RuntimeError):
        client.stream()
