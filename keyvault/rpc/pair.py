"""What the nodes of a pair say to each other, over mutual TLS: PairService, and the way to one peer."""

from collections.abc import Sequence

import grpc

from keyvault.core import limits
from keyvault.core.errors import Broken, Conflict, Fenced, Malformed, Unavailable
from keyvault.core.ids import EnclaveName, Epoch, Principal, parse_principal
from keyvault.core.marks import Mark
from keyvault.engine.feed import Batch, Look
from keyvault.engine.pair import PairTerms
from keyvault.ledger import wire
from keyvault.rpc.auth import Context, Door
from keyvault.rpc.forward import OPTIONS, target_of
from keyvault.rpc.keys import guarded
from keyvault.rpc.names import parse_enclave
from keyvault.store.base import Entry, Head
from keyvault.v1 import pair_pb2, pair_pb2_grpc

_REQUEST_KEY_BYTES_MAX = 128
_ROOT_BYTES = 32
_NOTE_BYTES_MAX = 65_536


class PairService(pair_pb2_grpc.PairServiceServicer):
    """This node, as its peers may use it."""

    def __init__(self, terms: PairTerms, door: Door, enclave: EnclaveName) -> None:
        self._terms = terms
        self._door = door
        self._enclave = enclave

    async def Look(self, request: pair_pb2.LookRequest, context: Context) -> pair_pb2.LookResponse:
        """See pair.proto."""
        sender = await self._door.admit(context, "node")

        async def work() -> pair_pb2.LookResponse:
            self._check_enclave(request.parent)
            return _look_to_proto(self._terms.look(sender))

        return await guarded(context, work)

    async def Push(self, request: pair_pb2.PushRequest, context: Context) -> pair_pb2.PushResponse:
        """See pair.proto."""
        sender = await self._door.admit(context, "node")

        async def work() -> pair_pb2.PushResponse:
            self._check_enclave(request.parent)
            try:
                found = await self._terms.take(sender, _batch(request))
            except (Conflict, Broken) as error:
                return pair_pb2.PushResponse(refusal=str(error)[: limits.EXPLANATION_CHARS_MAX])
            return pair_pb2.PushResponse(found=_look_to_proto(found))

        return await guarded(context, work)

    def _check_enclave(self, parent: str) -> None:
        if parse_enclave("parent", parent) != self._enclave:
            raise Malformed("parent", f"this node is of enclave {self._enclave}")


class PairLink:
    """The way to one peer; see ``feed.Link``. TLS holds its certificate against the name in its address."""

    def __init__(
        self, node: Principal, address: str, enclave: EnclaveName, credentials: grpc.ChannelCredentials
    ) -> None:
        self.node = node
        self.address = address
        self._parent = f"enclaves/{enclave}"
        self._channel = grpc.aio.secure_channel(target_of(address), credentials, options=OPTIONS)
        self._stub: pair_pb2_grpc.PairServiceAsyncStub = pair_pb2_grpc.PairServiceStub(self._channel)

    async def look(self) -> Look:
        """See Link."""
        try:
            found = await self._stub.Look(pair_pb2.LookRequest(parent=self._parent), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._away(error) from error
        return _look(found)

    async def push(self, batch: Batch) -> Look:
        """See Link."""
        request = pair_pb2.PushRequest(
            parent=self._parent,
            expected=_head_to_proto(batch.expected),
            entries=[
                pair_pb2.LedgerEntry(body=each.body, request_key=each.request_key or b"") for each in batch.entries
            ],
            settled=batch.settled,
            signed=_signed_to_proto(batch.signed),
            whole=batch.whole,
        )
        try:
            answer = await self._stub.Push(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._away(error) from error
        if not answer.HasField("found"):
            raise Fenced(answer.refusal[: limits.EXPLANATION_CHARS_MAX])
        return _look(answer.found)

    async def close(self) -> None:
        """See Link."""
        await self._channel.close()

    def _away(self, error: grpc.aio.AioRpcError) -> Unavailable:
        return Unavailable(f"{self.node} at {self.address} does not answer: {error.code().name} {error.details()}")


_TIMEOUT_S = limits.PAIR_ACK_MS / 1000


def _batch(request: pair_pb2.PushRequest) -> Batch:
    """Raise Malformed for what no peer means."""
    wire.refuse_unknown_fields(request)
    if len(request.entries) > limits.PAIR_BATCH_ENTRIES_MAX:
        raise Malformed("entries", f"at most {limits.PAIR_BATCH_ENTRIES_MAX} at once")
    if request.settled < 0 or request.whole < 0:
        raise Malformed("settled", "and whole are not negative")
    return Batch(
        expected=_head(request.expected),
        entries=_entries(request.entries),
        settled=request.settled,
        signed=_signed(request.signed) if request.HasField("signed") else None,
        whole=request.whole,
    )


def _entries(messages: Sequence[pair_pb2.LedgerEntry]) -> list[Entry]:
    for message in messages:
        if not 0 < len(message.body) <= limits.ENTRY_BYTES_MAX or len(message.request_key) > _REQUEST_KEY_BYTES_MAX:
            raise Malformed("entries", "an entry, or its request key, has no bytes, or too many")
    return [Entry(body=each.body, request_key=each.request_key or None) for each in messages]


def _look_to_proto(found: Look) -> pair_pb2.LookResponse:
    mark, named = found.remembered, found.named
    return pair_pb2.LookResponse(
        head=_head_to_proto(found.head),
        signed=_signed_to_proto(found.signed),
        obstacle=found.obstacle,
        remembered=None
        if mark is None
        else pair_pb2.Remembered(incarnation=mark.incarnation, epoch=mark.epoch, size=mark.size, root=mark.root),
        named=None if named is None else pair_pb2.Named(leader=named[0], index=named[1]),
        node=found.node,
    )


def _look(message: pair_pb2.LookResponse) -> Look:
    mark = message.remembered
    if mark.epoch < 0 or mark.size < 0 or len(mark.root) not in (0, _ROOT_BYTES):
        raise Malformed("remembered", f"has epoch, size, and a root of {_ROOT_BYTES} bytes")
    named = (parse_principal(message.named.leader), message.named.index) if message.HasField("named") else None
    return Look(
        head=_head(message.head),
        signed=_signed(message.signed) if message.HasField("signed") else None,
        obstacle=message.obstacle[: limits.EXPLANATION_CHARS_MAX],
        remembered=Mark(incarnation=mark.incarnation, epoch=Epoch(mark.epoch), size=mark.size, root=mark.root)
        if message.HasField("remembered")
        else None,
        named=named,
        node=parse_principal(message.node),
    )


def _head(message: pair_pb2.LedgerHead) -> Head:
    if message.size < 0 or len(message.root) != _ROOT_BYTES:
        raise Malformed("head", f"has a size, and a root of {_ROOT_BYTES} bytes")
    return Head(size=message.size, root=message.root)


def _head_to_proto(head: Head) -> pair_pb2.LedgerHead:
    return pair_pb2.LedgerHead(size=head.size, root=head.root)


def _signed(message: pair_pb2.SignedHead) -> tuple[int, bytes]:
    if message.size < 0 or len(message.note) > _NOTE_BYTES_MAX:
        raise Malformed("signed", f"has a size, and a note of at most {_NOTE_BYTES_MAX} bytes")
    return message.size, message.note


def _signed_to_proto(signed: tuple[int, bytes] | None) -> pair_pb2.SignedHead | None:
    return None if signed is None else pair_pb2.SignedHead(size=signed[0], note=signed[1])
