"""Names and numbers with a meaning, and the one place where they are checked."""

import re
from typing import NewType

from keyvault.core.errors import Malformed

EnclaveName = NewType("EnclaveName", str)
GroupName = NewType("GroupName", str)
"""Name of a group of members, which quorums ask: ``risk``."""
KeyId = NewType("KeyId", str)
"""Name of a key inside its enclave, without version: ``eth-mm-1``."""
MemberName = NewType("MemberName", str)
Principal = NewType("Principal", str)
"""URI SAN of the caller's certificate: ``spiffe://<trust-domain>/<role>/<name>``."""
RequestId = NewType("RequestId", str)
LedgerIndex = NewType("LedgerIndex", int)
Epoch = NewType("Epoch", int)
UnixMillis = NewType("UnixMillis", int)

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_PRINCIPAL = re.compile(
    r"spiffe://([a-z0-9.-]{1,128})/(server|bot|admin|approver|auditor|node)/([a-z0-9][a-z0-9._-]{0,62})", re.ASCII
)


def parse_enclave_name(text: str) -> EnclaveName:
    """Return the name, or raise Malformed."""
    return EnclaveName(_name("enclave", text))


def parse_group_name(text: str) -> GroupName:
    """Return the name, or raise Malformed."""
    return GroupName(_name("group", text))


def parse_key_id(text: str) -> KeyId:
    """Return the id, or raise Malformed."""
    return KeyId(_name("key", text))


def parse_member_name(text: str) -> MemberName:
    """Return the name, or raise Malformed."""
    return MemberName(_name("member", text))


def parse_request_id(text: str) -> RequestId:
    """Return the id, or raise Malformed."""
    if not _REQUEST_ID.fullmatch(text):
        raise Malformed("request_id", "must be 1 to 64 characters of A-Z a-z 0-9 . _ : -")
    return RequestId(text)


NOBODY = Principal("")
"""No principal: what stands where nobody is named."""


def parse_principal(text: str) -> Principal:
    """Return the principal, or raise Malformed unless it is ``spiffe://<trust-domain>/<role>/<name>``."""
    if not _PRINCIPAL.fullmatch(text):
        raise Malformed(
            "principal",
            f"{text[:200]!r} is not spiffe://<trust-domain>/<server|bot|admin|approver|auditor|node>/<name>",
        )
    return Principal(text)


def role_of(principal: Principal) -> str:
    """Return the role segment of a parsed principal."""
    return principal.split("/")[3]


def _name(field: str, text: str) -> str:
    if not _NAME.fullmatch(text):
        raise Malformed(field, f"{text[:80]!r} must be 1 to 63 characters of a-z 0-9 - and start with a letter")
    return text
