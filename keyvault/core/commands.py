"""Requests to change state, already parsed and well-formed."""

import hashlib
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter
from keyvault.core.errors import Malformed
from keyvault.core.events import SignatureRequest
from keyvault.core.ids import Principal
from keyvault.core.intent import Intent, Stamp, effect_texts
from keyvault.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSignature:
    """A bot asks for a signature; ``intent`` is what ``request.payload`` means."""

    request: SignatureRequest
    intent: Intent
    stamp: Stamp | None = None
    """What ``intent.signing_input`` was stamped with, if it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """A member asks for a change; see ``events.ProposalMade``. ``principal`` only carries it."""

    principal: Principal
    statement: bytes
    signature: EnvelopeSignature
    document: bytes = b""
    policy: Policy | None = None
    charter: Charter | None = None
    wrapped_secret: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastBallot:
    """A member says something to an open proposal. ``principal`` only carries it."""

    principal: Principal
    proposal: bytes
    voice: Voice
    signature: EnvelopeSignature


def check_recordable(command: RequestSignature) -> None:
    """Raise Malformed if what is to be recorded of the request cannot fit into one entry; before anything is signed."""
    intent = command.intent
    size = sum(map(len, command.request.payload.parts)) + len(intent.signing_input)
    for effect in intent.effects:
        size += sum([4 * len(text) for text in effect_texts(effect) if text])  # four bytes of UTF-8 a character at most
    if size > limits.RECORD_BYTES_MAX:
        raise Malformed("payload", f"{size} bytes would be recorded of it; {limits.RECORD_BYTES_MAX} is the most")


def object_id_of(proposal: bytes) -> bytes:
    """Return the CKA_ID of the key that this proposal creates.

    It depends on nothing else: after a crash between token and ledger the same proposal finds the same object.
    """
    return hashlib.sha256(b"keyvault/object/v2\0" + proposal).digest()[:20]
