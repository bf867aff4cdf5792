"""Webhooks: tells other systems what happened to proposals, keys and freezes. Follows the ledger, decides nothing.

1. Nothing waits for a receiver: ``offer`` puts a notice into a bounded queue and returns; when it is full, the oldest
   goes. A receiver that is dead, slow or lying costs lost notices and nothing else, not even a late end of the process.
2. A body holds what ``Notice`` holds: no payload, no secret.
3. Every body is signed as Standard Webhooks 1.0 says (standardwebhooks.com): ``webhook-signature: v1,`` and the base64
   of HMAC-SHA256 over ``id.timestamp.body``. The id stays the same when a delivery is tried again.
4. HTTPS only, the certificate verified, no redirect followed; of an answer only its status counts. One delivery has a
   deadline and a bound of bytes as a whole, however the receiver drips.
5. 2xx is delivered; 410 ends the hook until the server is started anew; everything else is tried again, a few times and
   while it is news.
6. Each notice that a hook wants ends once: ``sent``; ``failed``, tried and not known to have arrived; or ``dropped``.
"""

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from random import SystemRandom
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from keyvault.config import ConfigError, HookConfig
from keyvault.core import limits
from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.secretfile import read_secret_file

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

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


class NotGenuine(KeyvaultError):
    """The delivery is not from who has the secret, or not of now."""


def verify(secret: bytes, headers: Mapping[str, str], body: bytes, *, now_s: float) -> None:
    """Raise NotGenuine unless one signature fits these very bytes and the time is at most HOOK_SKEW_S off.

    For receivers. Who must not act twice also remembers each ``webhook-id`` for as long.
    """
    given = {name.lower(): value for name, value in headers.items()}
    time_text = given.get("webhook-timestamp", "")
    if not time_text.isascii() or not time_text.isdigit() or abs(now_s - int(time_text)) > limits.HOOK_SKEW_S:
        raise NotGenuine(f"webhook-timestamp is missing, or more than {limits.HOOK_SKEW_S} s off this clock")
    wanted = signed_headers(secret, given.get("webhook-id", ""), int(time_text), body)["webhook-signature"].encode()
    signatures = given.get("webhook-signature", "").split(" ")  # several while a secret is being replaced
    if not any(hmac.compare_digest(wanted, each.encode()) for each in signatures):
        raise NotGenuine("no signature in webhook-signature is right; is it the secret of this hook?")


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
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = SystemRandom().uniform
    timeout_s: float = limits.HOOK_TIMEOUT_MS / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queued:
    """One notice as it is sent, and when it was offered."""

    message_id: str
    body: bytes
    offered_at: float


class Hook:
    """One receiver, its queue, and the thread that talks to it."""

    def __init__(self, config: HookConfig, timing: Timing | None = None) -> None:
        """Raises UnsafeFile or ConfigError for a secret or CA file that cannot be used."""
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self._timing = timing or Timing()
        self._kinds = config.kinds
        self._secret = _secret_of(config)
        parts = urlsplit(config.url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        self._context = _context_of(config)
        self._queue: deque[_Queued] = deque()
        self._offered = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._gone = False
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
        message_id = f"msg_{secrets.token_hex(16)}"
        self._queue.append(_Queued(message_id=message_id, body=notice.body(), offered_at=self._timing.monotonic()))
        self._idle.clear()
        self._offered.set()

    async def close(self, patience_s: float) -> None:
        """Let what is queued go out for so long, then stop; what did not go out counts as lost."""
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._gone = True
        self._drop_all()

    async def _deliver_forever(self) -> None:
        while not self._gone:
            while not self._queue:
                self._idle.set()
                self._offered.clear()
                await self._offered.wait()
            queued = self._queue.popleft()
            if self._is_old(queued):
                self.dropped += 1
                continue
            arrived = False
            try:
                arrived = await self._deliver(queued)
            finally:  # cancelled, too: then nobody knows
                self.sent += arrived
                self.failed += not arrived
        self._drop_all()
        self._idle.set()

    def _drop_all(self) -> None:
        self.dropped += len(self._queue)
        self._queue.clear()

    def _is_old(self, queued: _Queued) -> bool:
        return (self._timing.monotonic() - queued.offered_at) * 1000 > limits.HOOK_AGE_MS_MAX

    async def _deliver(self, queued: _Queued) -> bool:
        """Return whether the receiver took it."""
        for attempt in range(limits.HOOK_TRIES_MAX):
            if attempt:
                pause_s = limits.HOOK_PAUSE_MS_MIN / 1000 * 2 ** (attempt - 1)
                await self._timing.sleep(self._timing.uniform(0, pause_s))
            if self._is_old(queued):
                return False
            status = await self._post(queued)
            if status in _OK:
                return True
            if status == _GONE:
                self._gone = True
                log.warning("a webhook said 410: it is told nothing more until the next start", host=self._host)
                return False
        return False

    async def _post(self, queued: _Queued) -> int:
        """Return the status of the answer; 0 if there was none."""
        headers = signed_headers(self._secret, queued.message_id, int(self._timing.now_s()), queued.body)
        try:
            return await _in_a_thread(lambda: self._talk(headers, queued.body))
        except Exception as error:  # noqa: BLE001  whatever a receiver provokes, the next notice goes out
            log.warning("a webhook was not reached", host=self._host, error=type(error).__name__)
            return 0

    def _talk(self, headers: dict[str, str], body: bytes) -> int:
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context)
        try:
            connection.sock = _connected(self._host, self._port, self._context, self._timing.timeout_s)
            connection.request("POST", self._path, body, {**headers, "content-type": "application/json"})
            with connection.getresponse() as answer:
                # Read, so that the receiver sees a proper end; its status counts whatever becomes of the rest.
                with suppress(OSError, http.client.HTTPException):
                    answer.read(limits.HOOK_ANSWER_BYTES_MAX)
                return answer.status
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


# Connections ------------------------------------------------------------------------------------------------


class _BoundedSocket(ssl.SSLSocket):
    """A TLS connection that ends at a moment and after so many bytes, however slowly or long the other side talks.

    A timeout of its own would begin anew with every byte that arrives.
    """

    ends_at = 0.0
    bytes_left = limits.HOOK_ANSWER_BYTES_MAX

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        """See socket.socket; raises TimeoutError at the end and OSError for too long an answer."""
        self.settimeout(_left_s(self.ends_at))
        count = super().recv_into(buffer, nbytes, flags)
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise OSError("the answer is too long")
        return count

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """See socket.socket; raises TimeoutError at the end."""
        self.settimeout(_left_s(self.ends_at))
        return super().send(data, flags)


def _connected(host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> ssl.SSLSocket:
    """Return a connection to whoever proved to be ``host``; it ends ``timeout_s`` after its name was resolved."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[: limits.HOOK_ADDRESSES_MAX]
    ends_at = time.monotonic() + timeout_s
    plain = _first_connected([(str(address[0]), port) for *_, address in addresses], ends_at)
    try:
        plain.settimeout(_left_s(ends_at))  # the whole handshake has this time, not each of its messages
        secured = context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
    if isinstance(secured, _BoundedSocket):
        secured.ends_at = ends_at
    return secured


def _first_connected(addresses: Sequence[tuple[str, int]], ends_at: float) -> socket.socket:
    problem = OSError("the name has no address")
    for number, address in enumerate(addresses):
        try:
            return socket.create_connection(address, timeout=_left_s(ends_at) / (len(addresses) - number))
        except OSError as error:
            problem = error
    raise problem


def _left_s(ends_at: float) -> float:
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


async def _in_a_thread(work: Callable[[], int]) -> int:
    """Return what ``work`` returns, from a thread that nothing waits for: Python joins those of an executor at exit."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()

    def give(result: int, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, problem = 0, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  it is raised where it is waited for
            problem = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(give, result, problem)

    threading.Thread(target=run, name="keyvault-hook", daemon=True).start()
    return await done


# Files ------------------------------------------------------------------------------------------------------


def _secret_of(config: HookConfig) -> bytes:
    try:
        return parse_secret(read_secret_file(config.secret_file).decode("ascii", "replace"))
    except Malformed as error:
        raise ConfigError(f"{config.secret_file}: {error.problem}") from None


def _context_of(config: HookConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if config.ca_file is None else str(config.ca_file))
    except OSError as error:  # ssl.SSLError is one
        problem = f"cannot be used ({error.strerror}); it must be a PEM file with the certificates of an authority"
        raise ConfigError(f"{config.ca_file}: {problem}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _BoundedSocket
    return context
