"""The composition root: the only module that knows every other. Start order, stop order, nothing else."""

import asyncio
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import structlog
import uvloop

from keyvault import __version__
from keyvault.config import Config, ConfigError, PairConfig, PostgresConfig
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyTransport
from keyvault.core.state import State
from keyvault.descriptors import raise_descriptor_limit
from keyvault.engine.clock import SteadyClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.installer import Installer
from keyvault.engine.node import Node
from keyvault.engine.observer import Observer
from keyvault.engine.pair import PairTerms
from keyvault.engine.part import Part
from keyvault.engine.replica import Replica
from keyvault.engine.served import Served
from keyvault.engine.spreading import Spreading
from keyvault.engine.terms import Terms
from keyvault.hsm.config import TokenConfig, find_module
from keyvault.hsm.supervisor import TokenSupervisor, open_token
from keyvault.hsm.watch import watch
from keyvault.ledger.note import Verifier, parse_vkey
from keyvault.notify import Hook, Notifier
from keyvault.rpc.certificate import node_principal, own_principal
from keyvault.rpc.pair import PairLink
from keyvault.rpc.peers import AskPeers
from keyvault.rpc.report import Reports
from keyvault.rpc.server import Identity as ServerIdentity
from keyvault.rpc.server import Membership, Server
from keyvault.secretfile import read_secret_file
from keyvault.store.anchor import Anchor
from keyvault.store.flag import Flag
from keyvault.store.postgres.board import open_board
from keyvault.store.postgres.store import open_store as open_postgres
from keyvault.store.sqlite import SqliteStore, open_store
from keyvault.telemetry import Metrics
from keyvault.telling import Health, LogReporter, ServerObserver, tell_what_falls_due

log = structlog.get_logger("keyvault")

EXIT_OK = 0
EXIT_BROKEN = 70
"""EX_SOFTWARE: the term ended by itself; a supervisor may start the server again, it recovers from the ledger."""


def run(config: Config, *, on_ready: Callable[[int], None] = lambda _port: None, stands_after: int = 0) -> int:
    """Serve until SIGTERM or SIGINT (return 0 after draining) or until the term ends by itself (return 70).

    ``on_ready`` gets the port as soon as calls are accepted. ``stands_after``: the node of a pair stands, if its ledger
    is in this epoch. Raises KeyvaultError if the server cannot start.
    """
    return uvloop.run(serve(config, on_ready=on_ready, stands_after=stands_after))


async def serve(
    config: Config,
    *,
    on_ready: Callable[[int], None] = lambda _port: None,
    observer: Observer | None = None,
    stands_after: int = 0,
) -> int:
    """See ``run``. ``observer`` is told every step of every request."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    raise_descriptor_limit()
    with closing(_open_ledger(config)) as store:
        token = await open_token(token_config(config))
        try:
            return await _Process(config, store, token, stop, on_ready, observer, stands_after).run()
        finally:
            await token.close()


def _open_ledger(config: Config) -> SqliteStore:
    """Open the ledger; a node's copy of a shared one is made when it is not there yet."""
    database, is_node = config.enclave.database, config.postgres is not None or config.pair is not None
    return open_store(database, create=is_node and not database.exists())


class _Process:
    """One server process: what it serves, from start to stop."""

    def __init__(
        self,
        config: Config,
        store: SqliteStore,
        token: TokenSupervisor,
        stop: asyncio.Event,
        on_ready: Callable[[int], None],
        observer: Observer | None,
        stands_after: int,
    ) -> None:
        self._stands_after = stands_after
        self._config = config
        self._store = store
        self._token = token
        self._stop = stop
        self._on_ready = on_ready
        self._clock = SteadyClock()
        self._metrics = Metrics()
        self._notifier = Notifier([Hook(hook) for hook in config.notify])
        self._observer = observer or ServerObserver(self._metrics, self._notifier)
        self._identity = Identity(holder=secrets.token_hex(16), software=__version__)

    async def run(self) -> int:
        """Serve until the end, alone or as a node; return the exit code."""
        try:
            if self._config.pair is not None:
                return await self._as_pair(self._config.pair)
            return await (self._alone() if self._config.postgres is None else self._as_node(self._config.postgres))
        finally:
            await self._notifier.close()
            counts = {f"notices_{name}": n for name, n in self._notifier.counts().items()}
            log.info("figures", **self._metrics.snapshot(), **counts)
            self._metrics.close()

    async def _alone(self) -> int:
        began = time.monotonic()
        enclave = await Enclave.open(
            store=self._store,
            token=self._token,
            clock=self._clock,
            identity=self._identity,
            observer=self._observer,
        )
        log.info(
            "leading",
            enclave=enclave.state.enclave,
            epoch=enclave.state.epoch,
            ledger_size=enclave.size,
            uncovered_entries=enclave.uncovered_at_start,
            recovery_s=round(time.monotonic() - began, 3),
        )
        if not self._token.keeps_anchor:
            log.warning(
                "the token keeps no anchor", means="only the checkpoint file tells an older ledger that is put back"
            )
        if enclave.quarantine is not None:
            log.critical("quarantine", reason=str(enclave.quarantine))
        try:
            _check_transport(self._config, enclave.state)
            return await self._serve(enclave, before_stop=_nothing_first)
        finally:
            await enclave.close()

    async def _as_node(self, postgres: PostgresConfig) -> int:
        identity = _identity(self._config)
        node_principal(identity.certificate_chain)
        replica = Replica(self._store, self._identity.holder, is_whole=False, passes_over=LogReporter().passes_over)
        node = Node(replica)
        anchor = Anchor(self._config.enclave.database)
        terms = Terms(
            open_store=lambda: open_postgres(
                postgres.conninfo, self._config.enclave.name, anchor, synchronous=postgres.synchronous
            ),
            replica=replica,
            node=node,
            token=self._token,
            clock=self._clock,
            identity=self._identity,
            address=postgres.address,
            observer=self._observer,
            reporter=LogReporter(),
            peers=AskPeers(postgres.peers, identity, self._config.enclave.name),
        )
        running = asyncio.create_task(terms.run())
        installer = self._installer(node)
        installing = asyncio.create_task(self._install(node, installer))
        spreading = self._spreading(postgres, terms)
        evening_out = asyncio.create_task(spreading.run())

        async def hand_over() -> None:
            terms.drain()
            await running

        try:
            log.info("following", address=postgres.address, ledger_size=replica.head.size)
            await _first_of(node.ready(), node.stopped, self._stop.wait())
            if self._stop.is_set():
                return EXIT_OK
            _check_transport(self._config, node.state)
            membership = Membership(
                node=node,
                member=terms,
                address=postgres.address,
                nodes=postgres.nodes,
                enclave=self._config.enclave.name,
                installing=lambda: installer.obstacle,
                spreading=spreading,
            )
            return await self._serve(node, before_stop=hand_over, membership=membership)
        finally:
            installing.cancel()
            terms.drain()
            await running
            evening_out.cancel()

    def _spreading(self, postgres: PostgresConfig, terms: Terms) -> Spreading:
        return Spreading(
            open_board=lambda: open_board(postgres.conninfo, self._config.enclave.name),
            node=terms,
            enclave=self._config.enclave.name,
            place=postgres.place,
            holder=self._identity.holder,
            address=postgres.address,
            reporter=LogReporter(),
        )

    async def _as_pair(self, pair: PairConfig) -> int:
        identity = _identity(self._config)
        own = node_principal(identity.certificate_chain)
        copying = Flag(self._config.enclave.database, "copying")
        replica = Replica(self._store, self._identity.holder, is_whole=not copying.reason())
        node = Node(replica)
        terms = PairTerms(
            links=[
                PairLink(peer.node, peer.address, self._config.enclave.name, identity.for_channels())
                for peer in pair.peers
            ],
            replica=replica,
            node=node,
            token=self._token,
            clock=self._clock,
            identity=replace(self._identity, node=own),
            pinned=_pinned(pair.log_vkey),
            copying=copying,
            fed=Flag(self._config.enclave.database, "fed"),
            forked=Flag(self._config.enclave.database, "forked"),
            address=pair.address,
            observer=self._observer,
            reporter=LogReporter(),
            stands_after=self._stands_after,
        )
        _tell_whether_it_stands(terms.part, self._stands_after, replica.state)
        installer = self._installer(node)

        async def lead_no_more() -> None:
            terms.drain()
            await running

        membership = Membership(
            node=node,
            member=terms,
            address=pair.address,
            nodes=frozenset(peer.node for peer in pair.peers),
            enclave=self._config.enclave.name,
            pair=terms,
            installing=lambda: installer.obstacle,
        )
        running = asyncio.create_task(terms.run())
        installing = asyncio.create_task(self._install(node, installer))
        try:
            log.info("following", address=pair.address, node=own, ledger_size=replica.head.size)
            return await self._serve(node, before_stop=lead_no_more, membership=membership)
        finally:
            installing.cancel()
            terms.drain()
            await running

    def _installer(self, node: Node) -> Installer:
        identity = _identity(self._config)
        own = own_principal(identity.certificate_chain)
        reports = Reports(node, own, identity, self._config.enclave.name)
        return Installer(served=node, token=self._token, own=own, report=reports)

    async def _install(self, node: Node, installer: Installer) -> None:
        """Bring the ledger's keys into the token for ever, where keys move."""
        await node.ready()
        try:
            _check_transport(self._config, node.state)
        except ConfigError as error:
            log.critical("configuration", error=str(error))
            self._stop.set()
            return
        if self._config.token.key_transport is KeyTransport.KWP:
            await installer.run()

    async def _serve(
        self, served: Served, *, before_stop: Callable[[], Awaitable[None]], membership: Membership | None = None
    ) -> int:
        server = Server(
            enclave=served,
            clock=self._clock,
            identity=_identity(self._config),
            listen=self._config.server.listen,
            trust_domain=self._config.server.trust_domain,
            membership=membership,
        )
        await server.start()
        health = Health(server, served)
        await health.tell()
        log.info("serving", listen=self._config.server.listen, port=server.port)
        self._on_ready(server.port)
        self._notifier.start()
        watching = asyncio.create_task(watch(lambda: self._token.has_worker, health.token))
        following = asyncio.create_task(health.follow())
        telling = asyncio.create_task(tell_what_falls_due(served, self._clock, self._notifier))
        try:
            await _first_of(served.stopped, self._stop.wait())
            return await _ended(served, server, before_stop)
        finally:
            watching.cancel()
            following.cancel()
            telling.cancel()


def _check_transport(config: Config, state: State) -> None:
    """Raise ConfigError unless configuration and genesis agree: a key that is made the wrong way is so for ever."""
    moves = state.tokens.roots is not None
    if state.size and moves != (config.token.key_transport is KeyTransport.KWP):
        raise ConfigError(
            f"[token] key_transport is {config.token.key_transport.value!r}, but by its genesis the keys of enclave"
            f" {state.enclave} {'move: it must be kwp' if moves else 'do not move: it cannot be kwp'}"
        )


def _pinned(file: Path) -> Verifier:
    """Return the log key that the file has. Raises ConfigError."""
    try:
        with file.open("rb") as opened:
            return parse_vkey(opened.read(limits.NOTE_BYTES_MAX).decode("ascii", "replace").strip())
    except (OSError, Malformed) as error:
        raise ConfigError(f"{file}: is no log.vkey ({error}); copy it from the first machine's folder") from error


def _tell_whether_it_stands(part: Part, stands_after: int, state: State) -> None:
    """Warn an operator who asked for it in vain."""
    if stands_after and part is not Part.STANDS:
        leader = "nobody" if state.pair is None else state.pair.leader
        log.warning("it does not stand", asked_after=stands_after, epoch=state.epoch, named_leader=leader)


async def _nothing_first() -> None:
    """Stop a server that nobody takes over from."""


async def _first_of(*events: Awaitable[object]) -> None:
    """Return when one of the events has come; futures among them are left as they are."""
    waiting = [asyncio.ensure_future(_quietly(event)) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()


async def _quietly(event: Awaitable[object]) -> None:
    await (asyncio.shield(event) if isinstance(event, asyncio.Future) else event)


async def _ended(served: Served, server: Server, before_stop: Callable[[], Awaitable[None]]) -> int:
    if served.stopped.done():
        log.critical("the term ended", reason=str(served.stopped.result()))
        await server.stop(0.5)
        return EXIT_BROKEN
    log.info("draining")
    await before_stop()
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
        key_transport=config.token.key_transport,
    )


def _identity(config: Config) -> ServerIdentity:
    return ServerIdentity(
        certificate_chain=config.server.certificate.read_bytes(),
        private_key=read_secret_file(config.server.private_key),
        client_ca=config.server.client_ca.read_bytes(),
    )
