"""Tells when a token has had no worker for so long that its server is of no use, and when it has one again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from keyvault.core.limits import TOKEN_DOWN_MS_MAX, TOKEN_LOOK_MS

_log = logging.getLogger("keyvault.hsm")


async def watch(
    has_worker: Callable[[], bool],
    say: Callable[[bool], Awaitable[None]],
    *,
    down_ms: int = TOKEN_DOWN_MS_MAX,
    look_ms: int = TOKEN_LOOK_MS,
) -> None:
    """Look every ``look_ms`` until cancelled; ``say`` is told each change once, the token being well at first.

    Between two looks a worker may come and go unseen: what counts is that looks for ``down_ms`` found none.
    """
    well, seen = True, time.monotonic()
    while True:
        await asyncio.sleep(look_ms / 1000)
        if has_worker():
            seen = time.monotonic()
            if not well:
                _log.warning("the token has a worker again: signing goes on")
                well = True
                await say(well)
        elif well and (time.monotonic() - seen) * 1000 > down_ms:
            _log.error("the token has had no worker for %d ms: nothing is signed until it has one", down_ms)
            well = False
            await say(well)
