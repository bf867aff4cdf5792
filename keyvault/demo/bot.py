"""A bot under load: signs one digest after the other through the SDK, and keeps what it was given."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from keyvault.client import AsyncClient
from keyvault.demo.history import Load, Signing

WAIT_S = 60
"""Longest wait for anything."""
_POLL_S = 0.01


class Bot:
    """Some requests at once, each with an id of its own, until ``done``."""

    def __init__(self, client: AsyncClient, key: str, load: Load, name: str, *, pause_s: float = 0) -> None:
        """``pause_s``: how long each of the requests waits after an answer."""
        self.done = asyncio.Event()
        self._client = client
        self._key = key
        self._load = load
        self._name = name
        self._pause_s = pause_s

    async def sign_forever(self, in_flight: int) -> None:
        """Sign until ``done``; then let those under way end."""
        await asyncio.gather(*(self._lane(number) for number in range(in_flight)))

    async def _lane(self, lane: int) -> None:
        number = 0
        while not self.done.is_set():
            await self._one(f"{self._name}-{lane}-{number}")
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
            number += 1

    async def _one(self, request_id: str) -> None:
        asked_at = time.monotonic()
        digest = hashlib.sha256(request_id.encode()).digest()
        try:
            signed = await self._client.sign_digest(self._key, digest, request_id=request_id)
        except Exception as error:  # noqa: BLE001  whatever a caller sees is what is looked for
            self._load.errors.append(f"{request_id}: {error!r}")
            return
        self._load.signings.append(
            Signing(
                request_id=request_id,
                asked_at=asked_at,
                answered_at=time.monotonic(),
                index=signed.ledger_index,
                signature=signed.signature,
            )
        )


@asynccontextmanager
async def signing(
    client: AsyncClient, key: str, load: Load, name: str, *, in_flight: int = 8, pause_s: float = 0
) -> AsyncIterator[Bot]:
    """Sign all the time while entered."""
    bot = Bot(client, key, load, name, pause_s=pause_s)
    working = asyncio.create_task(bot.sign_forever(in_flight))
    try:
        yield bot
    except BaseException:
        working.cancel()
        raise
    finally:
        bot.done.set()
        await asyncio.wait({working})


async def until(condition: Callable[[], bool], *, wait_s: float = WAIT_S) -> None:
    """Return when the condition holds, which is looked at often; raise TimeoutError."""
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110  what is waited for happens in other processes
            await asyncio.sleep(_POLL_S)


async def signed_more(load: Load, count: int, *, wait_s: float = WAIT_S) -> None:
    """Return when ``count`` more signatures were acknowledged than now."""
    wanted = len(load.signings) + count
    await until(lambda: len(load.signings) >= wanted, wait_s=wait_s)
