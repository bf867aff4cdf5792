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
from keyvault.config import Config
from keyvault.core import limits
from keyvault.core.errors import Reason
from keyvault.core.events import Event, SignatureIssued, SignatureRefused
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
    enclave = await Enclave.open(
        store=store,
        token=token,
        clock=clock,
        identity=Identity(holder=secrets.token_hex(16), software=__version__),
        observer=observer or _MetricsObserver(metrics),
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
        watching = asyncio.create_task(watch(lambda: token.has_worker, lambda able: server.say_signing(able=able)))
        try:
            return await _until_end(enclave, server, stop)
        finally:
            watching.cancel()
    finally:
        await enclave.close()
        log.info("figures", **metrics.snapshot())
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


class _MetricsObserver:
    """Counts what became durable."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def step(self, step: Step, count: int) -> None:
        """See Observer."""

    def committed(self, events: Sequence[Event], state: State, duration_s: float) -> None:
        """See Observer."""
        signatures: Counter[tuple[KeyAlgorithm, PayloadKind]] = Counter()
        refusals: Counter[Reason] = Counter()
        for event in events:
            if isinstance(event, SignatureIssued):
                key, _ = split_key_name(event.request.key)
                signatures[state.keys[key].algorithm, event.request.payload.kind] += 1
            elif isinstance(event, SignatureRefused):
                refusals[event.reason] += 1
        self._metrics.committed(events=len(events), duration_s=duration_s, signatures=signatures, refusals=refusals)

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
    )


def _identity(config: Config) -> ServerIdentity:
    return ServerIdentity(
        certificate_chain=config.server.certificate.read_bytes(),
        private_key=read_secret_file(config.server.private_key),
        client_ca=config.server.client_ca.read_bytes(),
    )
