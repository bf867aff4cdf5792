"""What a server tells: health to gRPC, changes of power and what falls due to people, what became of it to the log."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog

from keyvault.announce import announcements, expired, rotations_due
from keyvault.core import limits
from keyvault.core.errors import Reason, Unavailable
from keyvault.core.events import Event, SignatureIssued, SignatureRefused
from keyvault.core.ids import KeyId
from keyvault.core.intent import PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.state import State, split_key_name
from keyvault.engine.clock import Clock
from keyvault.engine.observer import Step
from keyvault.engine.served import Served
from keyvault.notify import Notifier
from keyvault.rpc.server import Server
from keyvault.telemetry import Metrics

log = structlog.get_logger("keyvault")


class Health:
    """What health says: of token, lead and quarantine, which members may leave while the server runs."""

    def __init__(self, server: Server, served: Served) -> None:
        self._server = server
        self._served = served
        self._token_is_well = True
        self._said = (True, True)

    async def token(self, well: bool) -> None:  # noqa: FBT001 (as ``watch`` calls it)
        """Take what became of the token."""
        self._token_is_well = well
        await self.tell()

    async def follow(self) -> None:
        """Let health follow the lead and the quarantine, for ever."""
        while True:
            await asyncio.sleep(limits.TOKEN_LOOK_MS / 1000)
            await self.tell()

    async def tell(self) -> None:
        """Say how things stand, if that has changed."""
        decides = self._served.leads and self._served.quarantine is None and not self._served.state.stands
        able = self._token_is_well and decides
        if (able, self._token_is_well) != self._said:
            self._said = (able, self._token_is_well)
            await self._server.say_signing(able=able, whole=self._token_is_well)


async def tell_what_falls_due(enclave: Served, clock: Clock, notifier: Notifier) -> None:
    """Log and announce keys that are due for rotation, and announce proposals that expired, for ever."""
    told: set[tuple[KeyId, int]] = set()
    since = clock.now()
    while True:
        try:
            now = clock.now()
        except Unavailable:  # in doubt: it is told when it is not
            await asyncio.sleep(limits.ROTATION_LOOK_MS / 1000)
            continue
        if not enclave.leads:  # the leader tells
            since = now
            await asyncio.sleep(limits.ROTATION_LOOK_MS / 1000)
            continue
        try:
            for notice in rotations_due(enclave.state, now, told):
                log.warning("a key is due for rotation", key=notice.subject, what=notice.summary)
                notifier.offer([notice])
            notifier.offer(expired(enclave.state, since, now))
        except Exception as error:  # what people are told decides nothing: the next look tries again
            log.exception("what falls due could not be told", error=repr(error))
        since = now
        await asyncio.sleep(limits.ROTATION_LOOK_MS / 1000)


class ServerObserver:
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


class LogReporter:
    """Logs what becomes of a node."""

    def leads(self, epoch: int) -> None:
        """See Reporter."""
        log.info("leading", epoch=epoch)

    def ended(self, epoch: int, why: str) -> None:
        """See Reporter."""
        log.warning("the term ended, following", epoch=epoch, reason=why)

    def quarantined(self, why: str) -> None:
        """See Reporter."""
        log.critical("in quarantine", reason=why)

    def cosigns(self, vkey: str) -> None:
        """See Reporter. Who reads it here has it from the node's own machine."""
        log.info("cosigning", vkey=vkey)

    def passes_over(self, size: int) -> None:
        """Tell of a checkpoint in the shared store that is none."""
        log.critical("a checkpoint in the database was not signed by the log key: passed over", size=size)

    def evens_out(self, place: str) -> None:
        """See Reporter."""
        log.info("handing over to even out", to=place)
