"""Webhooks: tells other systems what happened to proposals, keys and freezes. Follows the ledger, decides nothing.

1. Nothing waits for a receiver: ``offer`` puts a notice into a bounded queue and returns; when it is full, the oldest
   goes. A receiver that is dead, slow or lying costs lost notices and nothing else.
2. A body holds what ``Notice`` holds: no payload, no secret.
3. Every body is signed as Standard Webhooks 1.0 says (standardwebhooks.com): ``webhook-signature: v1,`` and the base64
   of HMAC-SHA256 over ``id.timestamp.body``. The id stays the same when a delivery is tried again.
4. HTTPS only, the certificate verified, no redirect followed; of an answer only its status counts.
5. 2xx is delivered; 410 ends the hook until the server is started anew; everything else is tried again, a few times.
"""

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import secrets
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from random import SystemRandom
from urllib.parse import urlsplit

import structlog

from keyvault.config import HookConfig
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.secretfile import read_secret_file

log = structlog.get_logger("keyvault.notify")

_PREFIX = "whsec_"
_GONE = 410
_OK = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that happened. ``subject`` is a resource name; ``loud``: somebody should be woken."""

    kind: str
    enclave: str
    subject: str
    summary: str
    at_ms: int
    ledger_index: int
    loud: bool

    def body(self) -> bytes:
        """Return the JSON that is sent."""
        document = asdict(self) | {"summary": self.summary[: limits.NOTICE_SUMMARY_CHARS_MAX]}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def signed_headers(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a delivery. ``secret`` is the key itself, not its text form."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digest = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{digest}",
    }


def parse_secret(text: str) -> bytes:
    """Return the key of ``whsec_`` and base64; raise Malformed, which never quotes it, unless it has 24 to 64 bytes."""
    try:
        key = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise Malformed("secret_file", f"must hold {_PREFIX} and base64") from None
    fits = limits.HOOK_SECRET_BYTES_MIN <= len(key) <= limits.HOOK_SECRET_BYTES_MAX
    if not fits or not text.strip().startswith(_PREFIX):
        raise Malformed(
            "secret_file",
            f"must hold {_PREFIX} and the base64 of {limits.HOOK_SECRET_BYTES_MIN} to {limits.HOOK_SECRET_BYTES_MAX}"
            " random bytes",
        )
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clocks, chance and patience, so that tests need not wait."""

    now_s: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = SystemRandom().uniform
    timeout_s: float = limits.HOOK_TIMEOUT_MS / 1000


class Hook:
    """One receiver, its queue, and the thread that talks to it."""

    def __init__(self, config: HookConfig, timing: Timing | None = None) -> None:
        """Raises UnsafeFile, Malformed or OSError for a secret or CA file that cannot be used."""
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self._timing = timing or Timing()
        self._kinds = config.kinds
        self._secret = parse_secret(read_secret_file(config.secret_file).decode("ascii", "replace"))
        parts = urlsplit(config.url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        self._context = ssl.create_default_context(cafile=None if config.ca_file is None else str(config.ca_file))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._queue: deque[tuple[str, bytes]] = deque()
        self._offered = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._gone = False
        self._talking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-hook")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver; needs a running event loop."""
        self._task = asyncio.create_task(self._deliver_forever())

    def offer(self, notice: Notice) -> None:
        """Queue a notice; never waits, never raises."""
        if self._gone or (self._kinds and notice.kind not in self._kinds):
            return
        if len(self._queue) >= limits.HOOK_QUEUE_MAX:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append((f"msg_{secrets.token_hex(16)}", notice.body()))
        self._idle.clear()
        self._offered.set()

    async def close(self, patience_s: float) -> None:
        """Let what is queued go out for so long, then stop."""
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._talking.shutdown(wait=False, cancel_futures=True)

    async def _deliver_forever(self) -> None:
        while not self._gone:
            while not self._queue:
                self._idle.set()
                self._offered.clear()
                await self._offered.wait()
            queued = self._queue[0]
            await self._deliver(*queued)
            if self._queue and self._queue[0] is queued:  # a full queue may have dropped it meanwhile
                self._queue.popleft()
        self._idle.set()

    async def _deliver(self, message_id: str, body: bytes) -> None:
        for attempt in range(limits.HOOK_TRIES_MAX):
            status = await self._post(message_id, body)
            if status in _OK:
                self.sent += 1
                return
            if status == _GONE:
                self._gone = True
                self._queue = deque([(message_id, body)])
                log.warning("a webhook said 410: it is told nothing more until the next start", host=self._host)
                break
            pause_s = limits.HOOK_PAUSE_MS_MIN / 1000 * 2**attempt
            await self._timing.sleep(self._timing.uniform(0, pause_s))
        self.failed += 1

    async def _post(self, message_id: str, body: bytes) -> int:
        """Return the status of the answer; 0 if there was none."""
        headers = signed_headers(self._secret, message_id, int(self._timing.now_s()), body)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._talking, self._talk, headers, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            log.warning("a webhook was not reached", host=self._host, error=type(error).__name__)
            return 0

    def _talk(self, headers: dict[str, str], body: bytes) -> int:
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timing.timeout_s, context=self._context
        )
        try:
            connection.request("POST", self._path, body, {**headers, "content-type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()


class Notifier:
    """All hooks of a server."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = hooks

    def start(self) -> None:
        """Begin to deliver; needs a running event loop."""
        for hook in self._hooks:
            hook.start()

    def offer(self, notices: Iterable[Notice]) -> None:
        """Queue notices for every hook; never waits, never raises."""
        if self._hooks:
            for notice in notices:
                for hook in self._hooks:
                    hook.offer(notice)

    async def close(self) -> None:
        """Let what is queued go out for HOOK_CLOSE_MS at most, then stop."""
        await asyncio.gather(*(hook.close(limits.HOOK_CLOSE_MS / 1000) for hook in self._hooks))

    def counts(self) -> dict[str, int]:
        """Return notices sent, failed and dropped, over all hooks."""
        return {name: sum(getattr(hook, name) for hook in self._hooks) for name in ("sent", "failed", "dropped")}
