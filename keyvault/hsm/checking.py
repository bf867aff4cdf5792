"""A lane's own checker process, as the lane's thread sees it. See ``keyvault.hsm.checker``.

Laws:

- A signature is given out only with a verdict on exactly its item; anything else is CheckerFailed, and the process is
  replaced before the next batch.
- Small batches are verified here: then the event loop is not busy, and a hop would only cost time.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.limits import VERIFY_HERE_MAX
from keyvault.hsm import frames, wire
from keyvault.hsm.base import SignItem
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
    """Verifies batches of one lane. All methods are called by the lane's thread only."""

    def __init__(self, *, deadline_ms: int, command: tuple[str, ...] = _COMMAND) -> None:
        self._deadline_ms = deadline_ms
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: socket.socket | None = None

    def start(self) -> None:
        """Start the process if there is none. It ends with the thread that started it."""
        if self._stream is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  the command is our own module
                    (*self._command, str(theirs.fileno())),
                    env={"PYTHONPATH": package_root(), "LANG": "C.UTF-8"},
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the server, which drains first
                )
            except OSError as error:
                ours.close()
                raise CheckerFailed(f"cannot start {self._command[0]}: {error.strerror}") from error
        self._stream = ours

    def check(self, signed: Sequence[Signed]) -> list[Verdict]:
        """Return a verdict per signature, in order. Raises CheckerFailed."""
        asymmetric = [one for one in signed if one[0].algorithm is not KeyAlgorithm.HMAC_SHA256]
        if len(asymmetric) <= VERIFY_HERE_MAX:
            return [_verified_here(item, raw) for item, raw in signed]
        verdicts = iter(self._ask(asymmetric))
        return [
            _verified_here(item, raw) if item.algorithm is KeyAlgorithm.HMAC_SHA256 else next(verdicts)
            for item, raw in signed
        ]

    def close(self) -> None:
        """End the process."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it can answer nobody
                self._process.wait(_REAP_S)
            self._process = None

    def _ask(self, signed: Sequence[Signed]) -> list[Verdict]:
        try:
            checked = self._exchange(_batch(signed))
            if len(checked.results) != len(signed):
                raise CheckerFailed("the checker did not answer item by item")
            return [_verdict(result) for result in checked.results]
        except (OSError, DecodeError) as error:  # TimeoutError is one of them
            raise CheckerFailed(f"the checker gave no verdict ({type(error).__name__})") from error

    def _exchange(self, batch: worker_pb2.CheckBatch) -> worker_pb2.CheckedBatch:
        self.start()
        stream = self._stream
        if stream is None:
            raise CheckerFailed("the checker is closed")
        deadline = time.monotonic() + self._deadline_ms / 1000
        answered = False
        try:
            frames.send(stream, batch.SerializeToString(), deadline)
            checked = worker_pb2.CheckedBatch.FromString(frames.receive(stream, deadline))
            answered = True
        finally:
            if not answered:
                self.close()
        return checked


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
