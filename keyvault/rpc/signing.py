"""SigningService: what bots use."""

import asyncio
from collections import Counter, deque

import grpc

from keyvault import intents
from keyvault.core import limits
from keyvault.core.commands import RequestSignature
from keyvault.core.errors import (
    ApprovalNeeded,
    KeyvaultError,
    Malformed,
    NotFound,
    Overloaded,
    Reason,
    Refused,
    Unavailable,
)
from keyvault.core.escalation import QUORUM_SEPARATOR
from keyvault.core.events import SignatureEscalated, SignatureIssued, SignatureRefused, SignatureRequest
from keyvault.core.ids import KeyId, Principal, UnixMillis, parse_request_id
from keyvault.core.intent import UNSTAMPED, Completeness, Intent, Payload, Signer
from keyvault.core.keys import resource_name
from keyvault.core.proposals import proposal_name, short
from keyvault.core.state import State, find_key, split_key_name
from keyvault.core.statements import decode_statement, proposal_id_of, signer_named
from keyvault.engine.clock import Clock
from keyvault.engine.sequencer import Recorded, Waiter
from keyvault.engine.served import Served
from keyvault.engine.stamps import Stamps
from keyvault.ledger import wire
from keyvault.ledger.wire_output import fill_output, fill_stamp
from keyvault.ledger.wire_payload import checked_payload
from keyvault.ledger.wire_simulation import quota_to_proto, simulation_to_proto
from keyvault.rpc.auth import Context, Door
from keyvault.rpc.convert import key_to_proto
from keyvault.rpc.keys import guarded
from keyvault.rpc.names import parse_key_name
from keyvault.rpc.simulation import Simulations, named
from keyvault.rpc.status import Failure, abort, approval_needed, failure_of, refusal
from keyvault.v1 import signing_pb2, signing_pb2_grpc, types_pb2


class SigningService(signing_pb2_grpc.SigningServiceServicer):
    """Sign, SignStream, GetPublicKey, Simulate, GetQuota for one enclave."""

    def __init__(self, enclave: Served, door: Door, clock: Clock) -> None:
        self._enclave = enclave
        self._door = door
        self._clock = clock
        self._stamps = Stamps()
        self._simulations = Simulations(enclave, clock)
        self._streams: Counter[Principal] = Counter()
        self._open_streams: set[_Stream] = set()

    async def Sign(self, request: signing_pb2.SignRequest, context: Context) -> signing_pb2.SignResponse:
        """See signing.proto."""
        principal = await self._door.admit(context)
        try:
            if not self._enclave.is_open:
                await self._enclave.opened()
            answer = self.answer(await self.begin(request, principal, context.time_remaining()))
        except Exception as error:  # noqa: BLE001 (the edge: what nobody foresaw becomes INTERNAL, its text stays inside)
            answer = failure_of(error)
        if isinstance(answer, Failure):
            await abort(context, answer)
            raise TypeError  # abort raises; this tells the type checker
        return answer

    async def SignStream(  # type: ignore[override]  # the stubs know generators only; grpc.aio takes this form, too
        self, _: object, context: Context
    ) -> None:
        """See signing.proto."""
        principal = await self._door.admit(context)
        if self._streams[principal] >= limits.PRINCIPAL_STREAMS_MAX:
            too_many = Overloaded(f"{principal} has {limits.PRINCIPAL_STREAMS_MAX} streams open", retry_after_ms=1_000)
            await abort(context, failure_of(too_many))
        stream = _Stream(self, self._enclave, principal, context)
        self._streams[principal] += 1
        self._open_streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams[principal] -= 1
            self._open_streams.discard(stream)

    async def GetPublicKey(self, request: signing_pb2.GetPublicKeyRequest, context: Context) -> types_pb2.Key:
        """See signing.proto."""
        await self._door.admit(context)
        try:
            enclave, key, version = parse_key_name("name", request.name)
            if enclave != self._enclave.state.enclave:
                raise NotFound(f"this server has no enclave {enclave}")
            state = self._enclave.shown()
            return key_to_proto(state, find_key(state, key, version))
        except KeyvaultError as error:
            await abort(context, failure_of(error))
            raise

    async def Simulate(self, request: signing_pb2.SimulateRequest, context: Context) -> signing_pb2.SimulateResponse:
        """See signing.proto."""
        caller = await self._door.admit(context)

        async def work() -> signing_pb2.SimulateResponse:
            wire.refuse_unknown_fields(request)
            principal = self._simulations.principal_of(caller, request.principal)
            command = parse(named(request.request), principal, self._enclave.state, Stamps(), self._clock.now())
            return simulation_to_proto(await self._simulations.simulate(caller, command))

        return await guarded(context, work)

    async def GetQuota(self, request: signing_pb2.GetQuotaRequest, context: Context) -> signing_pb2.GetQuotaResponse:
        """See signing.proto."""
        caller = await self._door.admit(context)

        async def work() -> signing_pb2.GetQuotaResponse:
            found = self._simulations.quotas(caller, request.key, request.principal)
            return signing_pb2.GetQuotaResponse(
                limits=map(quota_to_proto, found),
                policy_version=self._enclave.state.policy.version,
                at_ms=self._clock.now(),
            )

        return await guarded(context, work)

    def drain(self) -> None:
        """Let every stream answer what it has read, read nothing more, and end with UNAVAILABLE."""
        for stream in self._open_streams:
            stream.drain()

    def begin(self, request: signing_pb2.SignRequest, principal: Principal, remaining_s: float | None) -> Waiter:
        """Parse and decide; return a future of the durable answer. Raises KeyvaultError. Call while open."""
        wait_s = limits.SIGN_WAIT_MS_MAX / 1000
        if remaining_s is not None:
            wait_s = min(wait_s, remaining_s)
        command = parse(request, principal, self._enclave.state, self._stamps, self._clock.now())
        return self._enclave.request(command, self._clock.monotonic() + wait_s)

    def answer(self, recorded: Recorded) -> signing_pb2.SignResponse | Failure:
        """Return what the bot gets for this fact; the same fact gives the same answer for ever."""
        match recorded.event:
            case SignatureIssued() as event:
                return _response(self._enclave.state, event, recorded.index)
            case SignatureRefused() as event:
                return refusal(event.reason, event.explanation, event.rules)
            case SignatureEscalated() as event:
                return approval_needed(_needed(self._enclave.state, event))
            case event:
                raise TypeError(type(event))


def parse(
    request: signing_pb2.SignRequest, principal: Principal, state: State, stamps: Stamps, now: UnixMillis
) -> RequestSignature:
    """Return the command: names checked, payload decoded. Raises Malformed or NotFound."""
    enclave, key, version = parse_key_name("key", request.key)
    if enclave != state.enclave:
        raise NotFound(f"this server has no enclave {enclave}")
    wire.refuse_unknown_fields(request)  # whoever sets one relies on it
    payload = checked_payload(request.payload)
    asked = SignatureRequest(
        request_id=parse_request_id(request.request_id),
        principal=principal,
        key=key if version is None else f"{key}/versions/{version}",
        payload=payload,
    )
    signer = _signer(state, key, version, stamps, now)
    intent = _unread(payload) if signer is None else intents.parse(payload, signer)
    stamp = signer.stamp if signer is not None and intent.stamped else None
    return RequestSignature(request=asked, intent=intent, stamp=stamp)


def _signer(state: State, key: KeyId, version: int | None, stamps: Stamps, now: UnixMillis) -> Signer | None:
    """Return who would sign, with a stamp; None if there is no such key, which the decision then says."""
    try:
        found = find_key(state, key, version)
    except Refused:
        return None
    return Signer.of(found, stamps.next(state, key, now))


def _unread(payload: Payload) -> Intent:
    """Return an intent of which nothing is known: whose signature it would be decides what a payload means."""
    return Intent(
        kind=payload.kind,
        algorithms=frozenset(),
        signing_input=b"",
        effects=(),
        completeness=Completeness.OPAQUE,
    )


def _needed(state: State, event: SignatureEscalated) -> ApprovalNeeded:
    name = proposal_id_of(event.statement)
    quorum = "; and ".join(decode_statement(event.statement)["quorum"].split(QUORUM_SEPARATOR))
    return ApprovalNeeded(
        Reason.NEEDS_APPROVAL,
        f"proposal {short(name)} needs {quorum}; ask again with the same request id when members approved",
        proposal=proposal_name(state.enclave, name),
        quorum=quorum,
        summary=intents.describe(intents.parse(event.request.payload, signer_named(decode_statement(event.statement)))),
    )


def _response(state: State, event: SignatureIssued, index: int) -> signing_pb2.SignResponse:
    key_id, _ = split_key_name(event.request.key)
    response = signing_pb2.SignResponse(
        request_id=event.request.request_id,
        key_version=resource_name(state.enclave, key_id, event.key_version),
        ledger_index=index,
        signing_input=event.signing_input,
        signature=wire.signature_to_proto(event.signature),
    )
    fill_stamp(response, event.stamp)
    signer = Signer.of(find_key(state, key_id, event.key_version), event.stamp or UNSTAMPED)
    payload = event.request.payload
    fill_output(response, payload.kind, intents.assemble(payload, signer, event.signature))
    return response


class _Stream:
    """One SignStream call: reads ahead within a bound, answers whatever is ready in one message."""

    def __init__(self, service: SigningService, enclave: Served, principal: Principal, context: Context) -> None:
        self._service = service
        self._enclave = enclave
        self._principal = principal
        self._context = context
        self._results: deque[signing_pb2.SignResult] = deque()
        self._in_flight = 0
        self._changed = asyncio.Event()
        self._draining = False

    def drain(self) -> None:
        """Read nothing more; end when everything that was read is answered."""
        self._draining = True
        self._changed.set()

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        reader.add_done_callback(lambda _: self._changed.set())
        try:
            while self._in_flight or self._results or not (reader.done() or self._draining):
                if not self._results:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                batch = self._next_batch()
                self._in_flight -= len(batch)
                self._changed.set()
                await self._context.write(signing_pb2.SignStreamResponse(results=batch))
            if not reader.done():
                raise Unavailable("the server is stopping; ask again", retry_after_ms=1_000)
            await reader  # its error, if it ended by one, ends the call
        except KeyvaultError as error:
            await abort(self._context, failure_of(error))
        finally:
            reader.cancel()

    def _next_batch(self) -> list[signing_pb2.SignResult]:
        """Take the results that fit into one message: outputs may be large, and clients bound what they receive."""
        batch = [self._results.popleft()]
        room = limits.STREAM_MESSAGE_BYTES_MAX - batch[0].ByteSize()
        while self._results and len(batch) < limits.STREAM_BATCH_MAX:
            room -= self._results[0].ByteSize()
            if room < 0:
                break
            batch.append(self._results.popleft())
        return batch

    async def _read(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            if not 0 < len(message.requests) <= limits.STREAM_BATCH_MAX:
                raise Malformed("requests", f"a message carries 1 to {limits.STREAM_BATCH_MAX} requests")
            if self._draining:
                return  # not begun: the end of the stream says so
            for request in message.requests:
                await self._room()
                self._begin(request)

    async def _room(self) -> None:
        while self._in_flight >= limits.STREAM_IN_FLIGHT_MAX:
            self._changed.clear()
            await self._changed.wait()
        if not self._enclave.is_open:
            await self._enclave.opened()

    def _begin(self, request: signing_pb2.SignRequest) -> None:
        self._in_flight += 1
        request_id = request.request_id
        try:
            waiter = self._service.begin(request, self._principal, None)
        except Exception as error:  # noqa: BLE001 (as in Sign: one request fails, not the stream)
            self._put(signing_pb2.SignResult(request_id=request_id, error=failure_of(error).to_stream()))
            return
        waiter.add_done_callback(lambda done: self._done(request_id, done))

    def _done(self, request_id: str, waiter: Waiter) -> None:
        if waiter.cancelled():
            return
        answer: signing_pb2.SignResponse | Failure
        try:
            answer = self._service.answer(waiter.result())
        except Exception as error:  # noqa: BLE001 (as in Sign: every request of the stream is answered)
            answer = failure_of(error)
        if isinstance(answer, Failure):
            self._put(signing_pb2.SignResult(request_id=request_id, error=answer.to_stream()))
        else:
            self._put(signing_pb2.SignResult(request_id=request_id, response=answer))

    def _put(self, result: signing_pb2.SignResult) -> None:
        self._results.append(result)
        self._changed.set()
