"""Requests to change state, already parsed and well-formed."""

import hashlib
from dataclasses import dataclass

from keyvault.core.approvals import Envelope, Statement
from keyvault.core.events import SignatureRequest
from keyvault.core.intent import Intent
from keyvault.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSignature:
    """A bot asks for a signature; ``intent`` is what ``request.payload`` means."""

    request: SignatureRequest
    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEnclave:
    """Members ask for a change; ``statement`` is what ``authorization`` says.

    ``wrapped_secret`` goes with key.import; ``policy`` and its bytes ``document`` with policy.publish.
    """

    authorization: Envelope
    statement: Statement
    wrapped_secret: bytes = b""
    policy: Policy | None = None
    document: bytes = b""


def object_id_of(statement: bytes) -> bytes:
    """Return the CKA_ID of the key that this statement creates.

    It depends on nothing else: after a crash between token and ledger the same statement finds the same object.
    """
    return hashlib.sha256(b"keyvault/object/v1\0" + statement).digest()[:20]
