"""What requests to all venues have in common: their parts, their bounds, the forms of their signatures.

The API key's id stands in several signed strings, headers and messages: it has no character that could end one.
"""

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload
from keyvault.core.keys import Signature

FIELD: Final = "exchange_request"

HMAC_SHA256_BYTES: Final = 32
HMAC_SHA512_BYTES: Final = 64
ED25519_BYTES: Final = 64
P256_BYTES: Final = 64

_ACCOUNT = re.compile(rf"[A-Za-z0-9/+=._-]{{1,{limits.EXCHANGE_ACCOUNT_CHARS_MAX}}}", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+", re.ASCII)
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parts(payload: Payload, count: int) -> tuple[bytes, ...]:
    """Return the payload's parts, or raise Malformed unless there are ``count`` of bounded size."""
    if len(payload.parts) != count:
        raise Malformed("payload", f"{payload.kind} has {count} part(s), not {len(payload.parts)}")
    if sum(map(len, payload.parts)) > limits.PAYLOAD_BYTES_MAX:
        raise Malformed("payload", f"has more than {limits.PAYLOAD_BYTES_MAX} bytes")
    return payload.parts


def account(data: bytes) -> str:
    """Return the API key's id, or raise Malformed."""
    text = data.decode("latin-1")
    if not _ACCOUNT.fullmatch(text):
        problem = f"must be 1 to {limits.EXCHANGE_ACCOUNT_CHARS_MAX} characters of A-Z a-z 0-9 / + = . _ -"
        raise Malformed(f"{FIELD}.account", f"the API key's id {problem}")
    return text


def method(data: bytes) -> str:
    """Return GET, POST, PUT or DELETE, or raise Malformed: the venues sign it in upper case."""
    text = data.decode("latin-1")
    if text not in _METHODS:
        raise Malformed(f"{FIELD}.method", "must be GET, POST, PUT or DELETE, in upper case")
    return text


def path(data: bytes) -> str:
    """Return a path that has one reading: no escapes, no empty segment, no segment that starts with a dot, no query."""
    text = data.decode("latin-1")
    if len(text) > limits.EXCHANGE_PATH_CHARS_MAX:
        raise Malformed(f"{FIELD}.path", f"has more than {limits.EXCHANGE_PATH_CHARS_MAX} characters")
    if not _PATH.fullmatch(text):
        raise Malformed(f"{FIELD}.path", "must be /segment/segment of A-Z a-z 0-9 _ - . without escapes or a query")
    return text


def one_of_query_and_body(verb: str, query: bytes, body: bytes) -> None:
    """Raise Malformed unless the parameters stand where the method has them: GET in the query, others in the body."""
    if verb == "GET" and body:
        raise Malformed(f"{FIELD}.body", "a GET has no body: venues differ about what it would mean")
    if verb != "GET" and query:
        raise Malformed(f"{FIELD}.query", f"a {verb} has its parameters in the body: leave the query out")


def signed(signature: Signature, length: int) -> bytes:
    """Return the signature's bytes, or raise Broken unless there are ``length``."""
    if len(signature.value) != length:
        raise Broken(f"the signature has {len(signature.value)} bytes, must have {length}")
    return signature.value


def base64_text(value: bytes) -> str:
    """Return standard Base64 with padding."""
    return base64.b64encode(value).decode("ascii")


def moment(at: UnixMillis) -> datetime:
    """Return the time as UTC with milliseconds."""
    return _EPOCH + timedelta(milliseconds=at)


def bounded(effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """Return the effects, or raise Malformed if there are more than EFFECTS_MAX."""
    if len(effects) > limits.EFFECTS_MAX:
        raise Malformed(FIELD, f"has more than {limits.EFFECTS_MAX} effects")
    return effects


def opaque(venue: str) -> tuple[Effect, ...]:
    """Return the effects of a request that is not known."""
    return (Effect(operation=Operation.OPAQUE, venue=venue),)


def completeness(effects: Iterable[Effect], *, partial: bool = False) -> Completeness:
    """Return FULL if every effect says all that its operation has; ``partial``: the request says more than they do."""
    answer = Completeness.PARTIAL if partial else Completeness.FULL
    for effect in effects:
        if effect.operation is Operation.OPAQUE:
            return Completeness.OPAQUE
        if _lacks(effect):
            answer = Completeness.PARTIAL
    return answer


def _lacks(effect: Effect) -> bool:
    """Return whether a fact is missing that the operation always has at the venue."""
    if effect.operation in {Operation.ORDER, Operation.REDUCE}:
        sized = effect.quantity is not None or effect.quote_quantity is not None
        return effect.symbol is None or effect.side is None or not sized
    if effect.operation is Operation.WITHDRAW:
        return effect.asset is None or effect.amount is None or effect.destination is None
    return False
