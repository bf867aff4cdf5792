"""A lane's own checker process, as the lane sees it. See ``keyvault.hsm.checker``.

Laws:

- A signature is given out only with a verdict on exactly its item; anything else is CheckerFailed, and the process is
  replaced before the next batch.
- Small batches are verified here: then the event loop is not busy, and a hop would only cost time.
"""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.message import DecodeError

from keyvault.core.keys import HMAC_ALGORITHMS, Signature
from keyvault.core.limits import TOKEN_START_MS, VERIFY_HERE_MAX
from keyvault.hsm import wire
from keyvault.hsm.base import SignItem
from keyvault.hsm.channel import Channel, open_channel
from keyvault.hsm.config import package_root
from keyvault.hsm.verify import WrongSignature, verified
from keyvault.v1 import worker_pb2

Signed = tuple[SignItem, bytes]
Verdict = Signature | WrongSignature
_COMMAND = (sys.executable, "-P", "-s", "-m", "keyvault.hsm.checker")
_REAP_S = 1.0


class CheckerFailed(Exception):
    """The checker gave no verdict; nothing may be released."""


class Checker:
    """Verifies the batches of one lane, one at a time.

    ``in_thread`` runs what blocks in a thread that lives as long as the lane: the process ends with the thread that
    started it.
    """

    def __init__(self, *, deadline_ms: int, in_thread: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self._deadline_s = deadline_ms / 1000
        self._in_thread = in_thread
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: socket.socket | None = None
        self._channel: Channel | None = None

    async def start(self) -> None:
        """Start the process unless there is one. Raises CheckerFailed."""
        if self._channel is not None and not self._channel.lost:
            return
        await self._in_thread(self.end)
        try:
            await self._in_thread(self._spawn)
            if self._stream is None:
                return
            channel = await open_channel(self._stream, lambda: None)
        except OSError as error:
            await self._in_thread(self.end)
            raise CheckerFailed(f"cannot start the checker: {error.strerror}") from error
        try:
            await channel.exchange(b"", TOKEN_START_MS / 1000)  # nothing to check: the answer says that it works
        except OSError as error:
            raise CheckerFailed(f"the checker did not start ({type(error).__name__})") from error
        self._channel = channel

    async def check(self, signed: Sequence[Signed]) -> list[Verdict]:
        """Return a verdict per signature, in order. Raises CheckerFailed."""
        asymmetric = [one for one in signed if one[0].algorithm not in HMAC_ALGORITHMS]
        if len(asymmetric) <= VERIFY_HERE_MAX:
            return [_verified_here(item, raw) for item, raw in signed]
        verdicts = iter(await self._ask(asymmetric))
        return [
            _verified_here(item, raw) if item.algorithm in HMAC_ALGORITHMS else next(verdicts) for item, raw in signed
        ]

    def close(self) -> None:
        """Close our end; the process ends by itself."""
        if self._channel is not None:
            self._channel.close()

    def end(self) -> None:
        """End the process now. Blocks; for the lane's thread."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it can answer nobody
                self._process.wait(_REAP_S)
            self._process = None

    def _spawn(self) -> None:
        self._stream, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  the command is our own module
                (*_COMMAND, str(theirs.fileno())),
                env={"PYTHONPATH": package_root(), "LANG": "C.UTF-8"},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server, which drains first
            )

    async def _ask(self, signed: Sequence[Signed]) -> list[Verdict]:
        await self.start()
        if self._channel is None:
            raise CheckerFailed("the checker is closed")
        try:
            answer = await self._channel.exchange(_batch(signed).SerializeToString(), self._deadline_s)
            checked = worker_pb2.CheckedBatch.FromString(answer)
        except (OSError, DecodeError) as error:  # TimeoutError is an OSError
            self._channel.close()
            raise CheckerFailed(f"the checker gave no verdict ({type(error).__name__})") from error
        if len(checked.results) != len(signed):
            self._channel.close()
            raise CheckerFailed("the checker did not answer item by item")
        return [_verdict(result) for result in checked.results]


def _verified_here(item: SignItem, raw: bytes) -> Verdict:
    try:
        return verified(item, raw)
    except WrongSignature as error:
        return error


def _batch(signed: Sequence[Signed]) -> worker_pb2.CheckBatch:
    batch = worker_pb2.CheckBatch()
    for item, raw in signed:
        batch.items.add(
            algorithm=wire.algorithm_to_wire(item.algorithm),
            public_key=item.public_key,
            input=item.input,
            signature=raw,
        )
    return batch


def _verdict(result: worker_pb2.CheckedBatch.Result) -> Verdict:
    if result.wrong or not result.value:
        return WrongSignature(result.wrong or "no verdict")
    return Signature(value=result.value, recovery_id=result.recovery_id if result.HasField("recovery_id") else None)
