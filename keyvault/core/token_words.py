"""What members are asked about tokens: forms of the parameters, and the plain words that they sign."""

import re
from collections.abc import Mapping
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.ids import parse_principal, role_of
from keyvault.core.keys import KeyTransport

_NODE = r"spiffe://[!-~]{1,200}"
_REASON = r"[ -~]{1,500}"
JOIN_FORM: Final[Mapping[str, str]] = {
    "node": _NODE,
    "transport_key_sha256": r"[0-9a-f]{64}",
    "strategy": KeyTransport.KWP.value,
    "reason": _REASON,
}
LEAVE_FORM: Final[Mapping[str, str]] = {"node": _NODE, "reason": _REASON}
JOIN_SUMMARY: Final = (
    "GIVE THE TOKEN OF NODE {node} THE POWER TO OPEN EVERY KEY of enclave {enclave}, those to come included: the"
    " wrapping key goes ({strategy}) to the token whose transport key has the SHA-256 {transport_key_sha256}. Nothing"
    " takes that back. Compare the SHA-256 with what the node's operator reads out. Reason: {reason}"
)
LEAVE_SUMMARY: Final = (
    "Strike the token of node {node} off the list of enclave {enclave}. IT KEEPS THE POWER TO OPEN EVERY KEY: if it is"
    " not destroyed, make new versions of all keys. Reason: {reason}"
)
IN_CLEAR: Final = "plaintext_transport"
"""Parameter of key.create that is there or not."""
_IN_CLEAR_PATTERN: Final = {IN_CLEAR: re.compile("allowed", re.ASCII)}


def optional_patterns(parameters: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """Return the forms of what these parameters of key.create have and need not have."""
    return _IN_CLEAR_PATTERN if IN_CLEAR in parameters else {}


def in_clear(parameters: Mapping[str, str]) -> str:
    """Return in words what a plaintext transport means."""
    if IN_CLEAR not in parameters:
        return ""
    return (
        " ITS SEED IS IN CLEAR in a worker's memory for a moment, when it is made and when another token gets it, where"
        " the token wraps no such keys."
    )


def check_node(parameters: Mapping[str, str]) -> None:
    """Raise Malformed unless the statement is about a node's principal."""
    if role_of(parse_principal(parameters["node"])) != "node":
        raise Malformed("statement.parameters.node", "must be spiffe://<trust-domain>/node/<name>")
