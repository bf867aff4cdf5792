"""What is asked of a worker, and what its answer is worth."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.limits import (
    PAYLOAD_BYTES_MAX,
    TOKEN_BATCH_MAX,
    TOKEN_OBJECT_ID_BYTES_MAX,
    TOKEN_STRIKES_MAX,
    TOKEN_TRANSPORT_KEY_MS,
)
from keyvault.core.marks import Mark
from keyvault.hsm import wire
from keyvault.hsm.anchor import decode_anchor, encode_anchor
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.checking import CheckerFailed, Signed, Verdict
from keyvault.hsm.verify import PUBLIC_KEY_BYTES
from keyvault.v1 import worker_pb2

T = TypeVar("T")
_DIGEST_BYTES = 32
_ECDSA = frozenset({KeyAlgorithm.SECP256K1, KeyAlgorithm.P256})
_WRONG = "WRONG_SIGNATURE"
Outcome = list[Signature | TokenFault]
Check = Callable[[Sequence[Signed]], Awaitable[list[Verdict]]]
"""Verifies a batch, see ``Checker.check``."""


class Job(Protocol[T]):
    """One request to a worker. ``deadline_ms`` is None where the lane's own deadline is right."""

    @property
    def deadline_ms(self) -> int | None:
        """How long the worker may take."""

    def request(self) -> worker_pb2.WorkerRequest | None:
        """Return what to send; None if nothing is left to ask (``accept`` gets an empty response)."""

    async def accept(self, response: worker_pb2.WorkerResponse) -> tuple[T, str | None]:
        """Return the result, and a code if the worker cannot be trusted any more."""

    def refuse(self, fault: TokenFault) -> T:
        """Return the result when the worker gave none."""

    def worked(self, result: T) -> bool:
        """Return whether the result shows that the worker is good for something."""


class Strikes:
    """Counts wrong signatures per object, so that one bad object does not cost a worker per request for ever."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def struck_out(self, object_id: bytes) -> bool:
        """Return whether the object is not to be asked any more."""
        return self._counts.get(object_id, 0) >= TOKEN_STRIKES_MAX

    def wrong(self, object_id: bytes) -> None:
        """The object gave a wrong signature. The table is bounded by the objects that exist."""
        self._counts[object_id] = self._counts.get(object_id, 0) + 1

    def right(self, object_id: bytes) -> None:
        """The object gave a right signature."""
        self._counts.pop(object_id, None)

    def gone(self, object_id: bytes) -> None:
        """The object exists no more."""
        self._counts.pop(object_id, None)


class SignJob:
    """A batch of signatures. Items that cannot be right are refused here; the worker sees the others only."""

    deadline_ms = None

    def __init__(self, items: Sequence[SignItem], strikes: Strikes, check: Check) -> None:
        self._items = items
        self._check = check
        self._strikes = strikes
        self._refused: dict[int, TokenFault] = {}

    def request(self) -> worker_pb2.WorkerRequest | None:
        """Return the batch of the items that are well-formed."""
        if len(self._items) > TOKEN_BATCH_MAX:
            self._refused = dict.fromkeys(range(len(self._items)), TokenFault("BATCH_SIZE", "too many for one batch"))
            return None
        batch = worker_pb2.SignBatch()
        for position, item in enumerate(self._items):
            refusal = self._refusal(item)
            if refusal is not None:
                self._refused[position] = refusal
                continue
            batch.items.add(
                object_id=item.object_id, algorithm=wire.algorithm_to_wire(item.algorithm), input=item.input
            )
        return worker_pb2.WorkerRequest(sign=batch) if batch.items else None

    async def accept(self, response: worker_pb2.WorkerResponse) -> tuple[Outcome, str | None]:
        """Return a verified signature or a fault per item; one wrong signature condemns the worker."""
        sent = [item for position, item in enumerate(self._items) if position not in self._refused]
        if len(response.signed.results) != len(sent):
            return self.refuse(TokenFault("BAD_ANSWER", "the worker did not answer item by item")), "BAD_ANSWER"
        try:
            answers = iter(await self._judged(sent, response.signed.results))
        except CheckerFailed as error:
            return self.refuse(TokenFault("NOT_CHECKED", str(error))), None
        outcome = [self._refused[n] if n in self._refused else next(answers) for n in range(len(self._items))]
        wrong = any(isinstance(answer, TokenFault) and answer.code == _WRONG for answer in outcome)
        return outcome, _WRONG if wrong else None

    def refuse(self, fault: TokenFault) -> Outcome:
        """Return the fault for every item."""
        return [self._refused.get(position, fault) for position in range(len(self._items))]

    def worked(self, result: Outcome) -> bool:
        """Return whether there is a signature in it."""
        return any(isinstance(one, Signature) for one in result)

    async def _judged(self, sent: Sequence[SignItem], results: Sequence[worker_pb2.SignedBatch.Result]) -> Outcome:
        signed = [(item, one.signature) for item, one in zip(sent, results, strict=True) if not one.HasField("error")]
        verdicts = iter(await self._check(signed))
        return [
            fault_of(one.error) if one.HasField("error") else self._counted(item, next(verdicts))
            for item, one in zip(sent, results, strict=True)
        ]

    def _counted(self, item: SignItem, verdict: Verdict) -> Signature | TokenFault:
        if isinstance(verdict, Signature):
            self._strikes.right(item.object_id)
            return verdict
        self._strikes.wrong(item.object_id)
        return TokenFault(_WRONG, f"the token's signature was not used: it {verdict}")

    def _refusal(self, item: SignItem) -> TokenFault | None:
        if not 1 <= len(item.object_id) <= TOKEN_OBJECT_ID_BYTES_MAX:
            return TokenFault("OBJECT_ID_SIZE", f"an object id has 1 to {TOKEN_OBJECT_ID_BYTES_MAX} bytes")
        if len(item.public_key) != PUBLIC_KEY_BYTES[item.algorithm]:
            return TokenFault("PUBLIC_KEY_SIZE", f"the public key is no {item.algorithm} key")
        if item.algorithm in _ECDSA and len(item.input) != _DIGEST_BYTES:
            return TokenFault("INPUT_SIZE", f"ECDSA signs {_DIGEST_BYTES} bytes, not {len(item.input)}")
        if len(item.input) > PAYLOAD_BYTES_MAX:
            return TokenFault("INPUT_SIZE", f"an input has at most {PAYLOAD_BYTES_MAX} bytes")
        if self._strikes.struck_out(item.object_id):
            return TokenFault("OBJECT_STRUCK_OUT", "the token's key does not fit the ledger's public key; see the log")
        return None


class AnchorJob:
    """What the token remembers of the ledger is read, or replaced."""

    deadline_ms: int | None = None

    def __init__(self, message: worker_pb2.WorkerRequest) -> None:
        self._message = message
        self._answer = "anchor_read" if message.WhichOneof("request") == "read_anchor" else "anchor_written"

    def request(self) -> worker_pb2.WorkerRequest:
        """Return it."""
        return self._message

    async def accept(self, response: worker_pb2.WorkerResponse) -> tuple[Mark | TokenFault | None, str | None]:
        """Return what is remembered, None if nothing is, or the token's error."""
        kind = response.WhichOneof("response")
        if kind == "error":
            return fault_of(response.error), None
        if kind != self._answer:
            return TokenFault("BAD_ANSWER", "the worker answered something else"), "BAD_ANSWER"
        value = response.anchor_read.value
        try:
            return decode_anchor(value) if value else None, None
        except Malformed:
            return TokenFault("BAD_ANSWER", "the worker's answer is no anchor"), "BAD_ANSWER"

    def refuse(self, fault: TokenFault) -> Mark | TokenFault | None:
        """Return the fault."""
        return fault

    def worked(self, result: Mark | TokenFault | None) -> bool:
        """Return whether it is done."""
        return not isinstance(result, TokenFault)


def read_anchor() -> AnchorJob:
    """Return the job that reads what the token remembers."""
    return AnchorJob(worker_pb2.WorkerRequest(read_anchor=worker_pb2.ReadAnchor()))


def write_anchor(mark: Mark) -> AnchorJob:
    """Return the job that lets the token remember this."""
    return AnchorJob(worker_pb2.WorkerRequest(write_anchor=worker_pb2.WriteAnchor(value=encode_anchor(mark))))


@dataclass(frozen=True, slots=True)
class ObjectJob:
    """An object to be made, moved or destroyed."""

    message: worker_pb2.WorkerRequest
    answer: Literal["made", "transported", "destroyed"]
    deadline_ms: int | None = None

    def request(self) -> worker_pb2.WorkerRequest:
        """Return it."""
        return self.message

    async def accept(self, response: worker_pb2.WorkerResponse) -> tuple[bytes | TokenFault, str | None]:
        """Return the public key or what was asked for (empty where there is none), or the token's error."""
        kind = response.WhichOneof("response")
        if kind == "error":
            return fault_of(response.error), None
        if kind != self.answer:
            return TokenFault("BAD_ANSWER", "the worker answered something else"), "BAD_ANSWER"
        return response.made.public_key or response.transported.value, None

    def refuse(self, fault: TokenFault) -> bytes | TokenFault:
        """Return the fault."""
        return fault

    def worked(self, result: bytes | TokenFault) -> bool:
        """Return whether it is done."""
        return isinstance(result, bytes)


def generate(object_id: bytes, algorithm: KeyAlgorithm, *, plaintext_transport: bool) -> ObjectJob:
    """Return the job that makes or finds a key pair."""
    pair = worker_pb2.GenerateObject(
        object_id=object_id, algorithm=wire.algorithm_to_wire(algorithm), plaintext_transport=plaintext_transport
    )
    return ObjectJob(worker_pb2.WorkerRequest(generate=pair), "made")


def unwrap(object_id: bytes, import_object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes) -> ObjectJob:
    """Return the job that makes a secret for this HMAC from a blob for the import key."""
    blob = worker_pb2.UnwrapObject(
        object_id=object_id,
        import_object_id=import_object_id,
        algorithm=wire.algorithm_to_wire(algorithm),
        wrapped=wrapped,
    )
    return ObjectJob(worker_pb2.WorkerRequest(unwrap=blob), "made")


def destroy(object_id: bytes, algorithm: KeyAlgorithm) -> ObjectJob:
    """Return the job that destroys what has this id, and makes the lane forget it."""
    target = worker_pb2.DestroyObject(object_id=object_id, algorithm=wire.algorithm_to_wire(algorithm))
    return ObjectJob(worker_pb2.WorkerRequest(destroy=target), "destroyed")


def transport_key() -> ObjectJob:
    """Return the job that makes or finds the token's transport key, which takes its time."""
    message = worker_pb2.WorkerRequest(transport_key=worker_pb2.TransportKey())
    return ObjectJob(message, "transported", TOKEN_TRANSPORT_KEY_MS)


def create_wrapping_key() -> ObjectJob:
    """Return the job that makes or finds the wrapping key."""
    message = worker_pb2.WorkerRequest(create_wrapping_key=worker_pb2.CreateWrappingKey())
    return ObjectJob(message, "transported")


def check_wrapping_key() -> ObjectJob:
    """Return the job that tells the wrapping key's check."""
    message = worker_pb2.WorkerRequest(check_wrapping_key=worker_pb2.CheckWrappingKey())
    return ObjectJob(message, "transported")


def export_wrapping_key(to_public_key_der: bytes) -> ObjectJob:
    """Return the job that wraps the wrapping key for another token."""
    export = worker_pb2.ExportWrappingKey(to=to_public_key_der)
    return ObjectJob(worker_pb2.WorkerRequest(export_wrapping_key=export), "transported")


def import_wrapping_key(blob: bytes, check: bytes) -> ObjectJob:
    """Return the job that takes another token's wrapping key in."""
    taken = worker_pb2.ImportWrappingKey(wrapped=blob, check=check)
    return ObjectJob(worker_pb2.WorkerRequest(import_wrapping_key=taken), "transported")


def wrap(object_id: bytes, algorithm: KeyAlgorithm) -> ObjectJob:
    """Return the job that wraps a key."""
    key = worker_pb2.WrapObject(object_id=object_id, algorithm=wire.algorithm_to_wire(algorithm))
    return ObjectJob(worker_pb2.WorkerRequest(wrap=key), "transported")


def unwrap_copy(
    object_id: bytes, algorithm: KeyAlgorithm, blob: bytes, identity: bytes, *, plaintext_transport: bool
) -> ObjectJob:
    """Return the job that makes a copy of another token's key."""
    copy = worker_pb2.UnwrapCopy(
        object_id=object_id,
        algorithm=wire.algorithm_to_wire(algorithm),
        wrapped=blob,
        identity=identity,
        plaintext_transport=plaintext_transport,
    )
    return ObjectJob(worker_pb2.WorkerRequest(unwrap_copy=copy), "transported")


def wrap_import_key() -> ObjectJob:
    """Return the job that wraps the import key."""
    return ObjectJob(worker_pb2.WorkerRequest(wrap_import_key=worker_pb2.WrapImportKey()), "transported")


def unwrap_import_copy(blob: bytes, public_key_der: bytes) -> ObjectJob:
    """Return the job that makes a copy of another token's import key."""
    copy = worker_pb2.UnwrapImportCopy(wrapped=blob, public_key=public_key_der)
    return ObjectJob(worker_pb2.WorkerRequest(unwrap_import_copy=copy), "transported")


def fault_of(error: worker_pb2.WorkerError) -> TokenFault:
    """Return the worker's error as the engine's."""
    return TokenFault(error.code, error.explanation)
