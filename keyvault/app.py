"""The composition root: the only module that knows every other. Start order, stop order, nothing else."""

import asyncio
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
import uvloop

from keyvault import __version__
from keyvault.announce import announcements, expired, rotations_due
from keyvault.config import Config
from keyvault.core import limits
from keyvault.core.errors import Reason
from keyvault.core.events import Event, SignatureIssued, SignatureRefused
from keyvault.core.ids import KeyId
from keyvault.core.intent import PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.state import State, split_key_name
from keyvault.descriptors import raise_descriptor_limit
from keyvault.engine.clock import SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.observer import Observer, Step
from keyvault.hsm.config import TokenConfig, find_module
from keyvault.hsm.supervisor import TokenSupervisor, open_token
from keyvault.hsm.watch import watch
from keyvault.notify import Hook, Notifier
from keyvault.rpc.server import Identity as ServerIdentity
from keyvault.rpc.server import Server
from keyvault.secretfile import read_secret_file
from keyvault.store.sqlite import SqliteStore, open_store
from keyvault.telemetry import Metrics

log = structlog.get_logger("keyvault")

EXIT_OK = 0
EXIT_BROKEN = 70
"""EX_SOFTWARE: the term ended by itself; a supervisor may start the server again, it recovers from the ledger."""


def run(config: Config, *, on_ready: Callable[[int], None] = lambda _port: None) -> int:
    """Serve until SIGTERM or SIGINT (return 0 after draining) or until the term ends by itself (return 70).

    ``on_ready`` gets the port as soon as calls are accepted. Raises KeyvaultError if the server cannot start.
    """
    return uvloop.run(serve(config, on_ready=on_ready))


async def serve(
    config: Config, *, on_ready: Callable[[int], None] = lambda _port: None, observer: Observer | None = None
) -> int:
    """See ``run``. ``observer`` is told every step of every request."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    raise_descriptor_limit()
    store = open_store(config.enclave.database, create=False)
    try:
        token = await open_token(token_config(config))
        try:
            return await _serve_enclave(config, store, token, stop, on_ready, observer)
        finally:
            await token.close()
    finally:
        store.close()


async def _serve_enclave(
    config: Config,
    store: SqliteStore,
    token: TokenSupervisor,
    stop: asyncio.Event,
    on_ready: Callable[[int], None],
    observer: Observer | None,
) -> int:
    began = time.monotonic()
    clock, metrics = SystemClock(), Metrics()
    notifier = Notifier([Hook(hook) for hook in config.notify])
    enclave = await Enclave.open(
        store=store,
        token=token,
        clock=clock,
        identity=Identity(holder=secrets.token_hex(16), software=__version__),
        observer=observer or _ServerObserver(metrics, notifier),
    )
    log.info(
        "leading",
        enclave=enclave.state.enclave,
        epoch=enclave.state.epoch,
        ledger_size=enclave.size,
        uncovered_entries=enclave.uncovered_at_start,
        recovery_s=round(time.monotonic() - began, 3),
    )
    server = Server(
        enclave=enclave,
        clock=clock,
        identity=_identity(config),
        listen=config.server.listen,
        trust_domain=config.server.trust_domain,
    )
    try:
        await server.start()
        log.info("serving", listen=config.server.listen, port=server.port)
        on_ready(server.port)
        notifier.start()
        watching = asyncio.create_task(watch(lambda: token.has_worker, lambda able: server.say_signing(able=able)))
        telling = asyncio.create_task(_tell_what_falls_due(enclave, clock, notifier))
        try:
            return await _until_end(enclave, server, stop)
        finally:
            watching.cancel()
            telling.cancel()
    finally:
        await enclave.close()
        await notifier.close()
        log.info("figures", **metrics.snapshot(), **{f"notices_{name}": n for name, n in notifier.counts().items()})
        metrics.close()


async def _until_end(enclave: Enclave, server: Server, stop: asyncio.Event) -> int:
    enclave.stopped.add_done_callback(lambda _: stop.set())
    await stop.wait()
    if enclave.stopped.done():
        log.critical("the term ended", reason=str(enclave.stopped.result()))
        await server.stop(0.5)
        return EXIT_BROKEN
    log.info("draining")
    await server.stop(limits.DRAIN_MS_MAX / 1000)
    log.info("drained")
    return EXIT_OK


async def _tell_what_falls_due(enclave: Enclave, clock: SystemClock, notifier: Notifier) -> None:
    """Log and announce keys that are due for rotation, and announce proposals that expired, for ever."""
    told: set[tuple[KeyId, int]] = set()
    since = clock.now()
    while True:
        now = clock.now()
        try:
            for notice in rotations_due(enclave.state, now, told):
                log.warning("a key is due for rotation", key=notice.subject, what=notice.summary)
                notifier.offer([notice])
            notifier.offer(expired(enclave.state, since, now))
        except Exception as error:  # what people are told decides nothing: the next look tries again
            log.exception("what falls due could not be told", error=repr(error))
        since = now
        await asyncio.sleep(limits.ROTATION_LOOK_MS / 1000)


class _ServerObserver:
    """Counts what became durable, and tells people of changes of power."""

    def __init__(self, metrics: Metrics, notifier: Notifier) -> None:
        self._metrics = metrics
        self._notifier = notifier

    def step(self, step: Step, count: int) -> None:
        """See Observer."""

    def committed(self, first: int, events: Sequence[Event], state: State, duration_s: float) -> None:
        """See Observer."""
        signatures: Counter[tuple[KeyAlgorithm, PayloadKind]] = Counter()
        refusals: Counter[Reason] = Counter()
        for event in events:
            if isinstance(event, SignatureIssued):
                key, _ = split_key_name(event.request.key)
                algorithm = state.keys[key].versions[event.key_version].algorithm
                signatures[algorithm, event.request.payload.kind] += 1
            elif isinstance(event, SignatureRefused):
                refusals[event.reason] += 1
        self._metrics.committed(events=len(events), duration_s=duration_s, signatures=signatures, refusals=refusals)
        try:
            self._notifier.offer(announcements(first, events, state))
        except Exception as error:  # what people are told decides nothing: the term goes on
            log.exception("a notice could not be made", error=repr(error))

    def token_fault(self, code: str) -> None:
        """See Observer."""
        self._metrics.token_faults(code)


def token_config(config: Config) -> TokenConfig:
    """Return what the supervisor needs; raise ConfigError if no PKCS#11 module can be found."""
    return TokenConfig(
        module=config.token.module or find_module(),
        label=config.token.label,
        pin_file=config.token.pin_file,
        softhsm2_conf=config.token.softhsm_conf,
        workers=config.token.workers,
        lanes_per_worker=config.token.lanes_per_worker,
        deadline_ms=config.token.deadline_ms,
        key_transport=config.token.key_transport,
    )


def _identity(config: Config) -> ServerIdentity:
    return ServerIdentity(
        certificate_chain=config.server.certificate.read_bytes(),
        private_key=read_secret_file(config.server.private_key),
        client_ca=config.server.client_ca.read_bytes(),
    )
