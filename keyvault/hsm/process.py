"""Worker processes as the server sees them: started, killed, replaced.

Laws:

- A worker is live from its ``Capabilities`` until the first fault on any of its lanes; then it is killed, and every
  lane of it gets the replacement's socket. Nothing of a killed worker is used again.
- One worker of a token starts at a time, and none after a PIN was refused: the token sees exactly one wrong login.
- The first replacement after a batch that went well starts at once; every further one waits, twice as long each time.
- A killed worker is reaped and all its descriptors are closed before the next one starts.
"""

import contextlib
import errno
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from keyvault.core.keys import KeyAlgorithm
from keyvault.core.limits import TOKEN_RESPAWN_MS_MAX, TOKEN_RESPAWN_MS_MIN
from keyvault.hsm import frames, wire
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.config import TokenConfig
from keyvault.hsm.verify import WrongSignature, verified
from keyvault.v1 import worker_pb2

_log = logging.getLogger("keyvault.hsm")
_STDERR_BYTES = 4_096
_REAP_S = 1.0
"""From SIGKILL to the exit status."""
LATCHED_CODE = "PIN_LATCHED"


class TokenClosed(Exception):
    """The token is being closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a token showed it can do, in a self-test whose signatures this process verified.

    ``transports``: whose keys it can wrap for other tokens; none unless the enclave's strategy is AES-KWP.
    """

    algorithms: frozenset[KeyAlgorithm]
    imports_secrets: bool
    keeps_anchor: bool
    transports: frozenset[KeyAlgorithm]
    token_label: str
    token_serial: str
    library: str


class Breaker:
    """What all workers of one token share: whether it is closed or latched, and who may start.

    ``closing``: no job is begun, no worker started.
    """

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.start_lock = threading.Lock()
        self._latch: TokenFault | None = None

    @property
    def latch(self) -> TokenFault | None:
        """The refusal of the PIN, if there was one. Only a restart of the server lifts it."""
        return self._latch

    def latch_on(self, fault: TokenFault) -> None:
        """Let no worker log in any more."""
        self._latch = fault


class WorkerProcess:
    """One process, from exec to its end."""

    def __init__(self, config: TokenConfig) -> None:
        """Start the process; ``hello`` says whether it works."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:  # whatever fails, none stays open
            try:
                pairs = [_pair(ours, theirs) for _ in range(config.lanes_per_worker)]
                self._process = _executed(config, tuple(pair[1].fileno() for pair in pairs))
            except OSError as error:
                raise _not_executed(config, error) from error
            ours.pop_all()  # they are the lanes' now
        self.pid = self._process.pid
        self._streams: list[socket.socket | None] = [pair[0] for pair in pairs]

    def hello(self, deadline: float) -> Capabilities:
        """Return what the worker can do. Raises TokenFault that says what is wrong and what to do."""
        try:
            answers = [worker_pb2.WorkerResponse.FromString(frames.receive(s, deadline)) for s in self._streams if s]
        except TimeoutError:
            raise TokenFault("WORKER_NOT_STARTED", "the worker did not get ready in time; is the token hung?") from None
        except (OSError, DecodeError):
            self.kill()
            raise TokenFault("WORKER_NOT_STARTED", f"the worker ended at its start: {self._last_words()}") from None
        if answers[0].WhichOneof("response") == "error":
            raise _start_fault(answers[0].error)
        return _capabilities(answers[0].capabilities)

    def take(self, lane: int) -> socket.socket | None:
        """Return the socket of this lane, once."""
        stream, self._streams[lane] = self._streams[lane], None
        return stream

    def kill(self) -> None:
        """End the process now and reap it. Any thread, any time, any number of times."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it can answer nobody, let it be
            self._process.wait(_REAP_S)

    def release(self) -> None:
        """Close what belongs to the process and is not a lane's own. After ``kill``, once."""
        _close_all(stream for stream in self._streams if stream is not None)
        self._streams = [None] * len(self._streams)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def end(self, deadline: float) -> None:
        """Let the process end by itself, its sockets being closed; kill it at the deadline."""
        self.release()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()

    def _last_words(self) -> str:
        stderr = self._process.stderr
        if stderr is None:
            return "no reason given"
        os.set_blocking(stderr.fileno(), False)
        text = (stderr.read(_STDERR_BYTES) or b"").decode("utf-8", "replace").strip()
        return text.splitlines()[-1] if text else f"exit status {self._process.returncode}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A lane's socket to a live worker."""

    stream: socket.socket
    worker: WorkerProcess


class WorkerSlot:
    """Keeps one worker alive for its lanes. Methods block; they are called by the lanes' own threads.

    The thread that starts a worker must live as long as the worker: Linux sends the parent-death signal when the
    starting *thread* ends. Lane threads do.
    """

    def __init__(self, config: TokenConfig, breaker: Breaker) -> None:
        self._config = config
        self._breaker = breaker
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._newest: WorkerProcess | None = None
        self._pause_ms = 0
        self.capabilities: Capabilities | None = None
        self.starts = 0

    def link(self, lane: int) -> Link:
        """Return a socket to a live worker, starting one if there is none.

        Raises TokenFault if it does not start (the next call waits before it tries again), TokenClosed at the end.
        """
        with self._lock:
            worker = self._worker or self._start()
            stream = worker.take(lane)
        if stream is None:
            raise TokenFault("LANE_TAKEN", "the lane has its socket already")
        return Link(stream=stream, worker=worker)

    def succeeded(self) -> None:
        """A batch went well: the next replacement need not wait."""
        self._pause_ms = 0

    def failed(self, link: Link, code: str) -> None:
        """Kill the worker of this link, unless it is dead already, and close the lane's socket."""
        try:
            link.worker.kill()
        finally:
            with self._lock:
                link.stream.close()
                if self._worker is link.worker:
                    self._worker = None
                    link.worker.release()
                    _log.warning("token worker %d replaced: %s", link.worker.pid, code)

    def interrupt(self) -> None:
        """Cut short a start that is under way; for the end of the token."""
        newest = self._newest
        if newest is not None and newest is not self._worker:
            newest.kill()

    def end(self, deadline: float) -> None:
        """End the worker. The lanes have closed their sockets."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.end(deadline)

    def _start(self) -> WorkerProcess:
        self._breaker.closing.wait(self._pause_ms / 1000)
        self._pause_ms = min(max(TOKEN_RESPAWN_MS_MIN, 2 * self._pause_ms), TOKEN_RESPAWN_MS_MAX)
        with self._breaker.start_lock:
            if self._breaker.closing.is_set():
                raise TokenClosed
            if self._breaker.latch is not None:
                raise self._breaker.latch
            self._worker = self._started()
            return self._worker

    def _started(self) -> WorkerProcess:
        worker = self._newest = WorkerProcess(self._config)
        if self._breaker.closing.is_set():  # ``interrupt`` may have come too early to see it
            worker.kill()
        try:
            found = worker.hello(time.monotonic() + self._config.start_ms / 1000)
            self._accept(found)
        except BaseException as error:  # a worker that nobody knows would hold the token and its descriptors
            if isinstance(error, TokenFault) and error.code == LATCHED_CODE:
                self._breaker.latch_on(error)
            worker.kill()
            worker.release()
            raise
        self.starts += 1
        return worker

    def _accept(self, found: Capabilities) -> None:
        missing = frozenset() if self.capabilities is None else self.capabilities.algorithms - found.algorithms
        if missing or not found.algorithms:
            raise TokenFault(
                "SELF_TEST_FAILED", f"the token no longer signs with {', '.join(sorted(missing)) or 'any'}"
            )
        self.capabilities = self.capabilities or found


def _pair(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    ours.enter_context(pair[0])
    theirs.enter_context(pair[1])
    return pair


def _executed(config: TokenConfig, lanes: tuple[int, ...]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - arguments are the deployment's own configuration
        config.command(lanes),
        env=config.worker_environment(),
        pass_fds=lanes,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the server, which drains first
    )


def _not_executed(config: TokenConfig, error: OSError) -> TokenFault:
    text = f"cannot start {config.worker_command[0]}: {error}"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        text += "; raise the limit of open files (ulimit -n, LimitNOFILE) or close connections; it is tried again"
    return TokenFault("WORKER_NOT_STARTED", text)


def _capabilities(told: worker_pb2.Capabilities) -> Capabilities:
    return Capabilities(
        algorithms=frozenset(_proven(told.trials)),
        imports_secrets=told.imports_secrets,
        keeps_anchor=told.keeps_anchor,
        transports=frozenset(map(wire.algorithm_from_wire, told.transports)),
        token_label=told.token_label,
        token_serial=told.token_serial,
        library=told.library,
    )


def _proven(trials: Sequence[worker_pb2.Capabilities.Trial]) -> list[KeyAlgorithm]:
    proven = []
    for trial in trials:
        with contextlib.suppress(WrongSignature, KeyError):
            algorithm = wire.algorithm_from_wire(trial.algorithm)
            verified(_trial_item(algorithm, trial.public_key), trial.signature)
            proven.append(algorithm)
    return proven


def _trial_item(algorithm: KeyAlgorithm, public_key: bytes) -> SignItem:
    return SignItem(object_id=wire.TRIAL_OBJECT_ID, algorithm=algorithm, public_key=public_key, input=wire.TRIAL_DIGEST)


_ADVICE = {
    "TOKEN_NOT_FOUND": "check the label and SOFTHSM2_CONF (softhsm2-util --show-slots lists tokens)",
    "MODULE_UNUSABLE": "check the path of the PKCS#11 module",
}


def _start_fault(error: worker_pb2.WorkerError) -> TokenFault:
    if error.latched:
        return TokenFault(
            LATCHED_CODE,
            f"the token refused the PIN ({error.code}); nothing is tried again: check the PIN file, then restart",
        )
    advice = _ADVICE.get(error.code)
    return TokenFault(error.code, f"{error.explanation}; {advice}" if advice else error.explanation)


def _close_all(streams: Iterable[socket.socket]) -> None:
    for stream in streams:
        stream.close()
