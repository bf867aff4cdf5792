"""The Python SDK: asks for signatures and changes, asks again where that is safe, and verifies what comes back."""

from keyvault.client.aio import AsyncClient
from keyvault.client.audit import ConsistencyProof, InclusionProof, LedgerEntry, SignedCheckpoint
from keyvault.client.credentials import Credentials
from keyvault.client.errors import (
    Aborted,
    ClientError,
    DeadlineExceeded,
    Denied,
    InvalidRequest,
    KeyvaultRpcError,
    LimitExceeded,
    NeedsApproval,
    NotFoundError,
    Overloaded,
    PreconditionFailed,
    RequestIdReused,
    SignatureMismatch,
    Unauthenticated,
    Unavailable,
    UnusableAnswer,
)
from keyvault.client.request_id import uuid7
from keyvault.client.results import (
    Ballot,
    EnclaveInfo,
    Key,
    Proposal,
    PublishedCharter,
    PublishedPolicy,
    SignatureSubject,
    Signed,
    SignedDigest,
    SignedExchangeRequest,
    SignedTransaction,
    SignedTypedData,
)
from keyvault.client.retry import Timing
from keyvault.client.statements import MemberKey, MemberSigner, make_statement, say
from keyvault.client.stream import SignStream
from keyvault.client.sync import BlockingSignStream, Client

__all__ = [
    "Aborted",
    "AsyncClient",
    "Ballot",
    "BlockingSignStream",
    "Client",
    "ClientError",
    "ConsistencyProof",
    "Credentials",
    "DeadlineExceeded",
    "Denied",
    "EnclaveInfo",
    "InclusionProof",
    "InvalidRequest",
    "Key",
    "KeyvaultRpcError",
    "LedgerEntry",
    "LimitExceeded",
    "MemberKey",
    "MemberSigner",
    "NeedsApproval",
    "NotFoundError",
    "Overloaded",
    "PreconditionFailed",
    "Proposal",
    "PublishedCharter",
    "PublishedPolicy",
    "RequestIdReused",
    "SignStream",
    "SignatureMismatch",
    "SignatureSubject",
    "Signed",
    "SignedCheckpoint",
    "SignedDigest",
    "SignedExchangeRequest",
    "SignedTransaction",
    "SignedTypedData",
    "Timing",
    "Unauthenticated",
    "Unavailable",
    "UnusableAnswer",
    "make_statement",
    "say",
    "uuid7",
]
