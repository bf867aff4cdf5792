"""The composition root: the only module that knows every other. Start order, stop order, nothing else."""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable

import structlog
import uvloop

from keyvault import __version__
from keyvault.config import Config
from keyvault.core import limits
from keyvault.engine.clock import SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.sequencer import Observer
from keyvault.hsm.config import TokenConfig, find_module
from keyvault.hsm.supervisor import TokenSupervisor
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
    store = open_store(config.enclave.database, create=False)
    try:
        token = await TokenSupervisor.open(token_config(config))
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
    clock = SystemClock()
    enclave = await Enclave.open(
        store=store,
        token=token,
        clock=clock,
        identity=Identity(holder=secrets.token_hex(16), software=__version__),
        observer=observer or (lambda _step, _count: None),
    )
    log.info(
        "leading",
        enclave=enclave.state.enclave,
        epoch=enclave.state.epoch,
        ledger_size=enclave.size,
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
        return await _until_end(enclave, server, stop)
    finally:
        await enclave.close()


async def _until_end(enclave: Enclave, server: Server, stop: asyncio.Event) -> int:
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, enclave.stopped], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if enclave.stopped.done():
        log.critical("the term ended", reason=str(enclave.stopped.result()))
        await server.stop(0.5)
        return EXIT_BROKEN
    log.info("draining")
    await server.stop(limits.DRAIN_MS_MAX / 1000)
    log.info("drained")
    return EXIT_OK


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
