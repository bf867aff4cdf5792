"""What members are asked about a pair: the form of the parameters, and the plain words that they sign."""

from collections.abc import Mapping
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import Principal, UnixMillis, parse_principal, role_of
from keyvault.core.units import utc

ALONE: Final = "none"
"""What stands for no followers."""
_NODE = r"spiffe://[!-~]{1,200}"
FORM: Final[Mapping[str, str]] = {
    "leader": _NODE,
    "followers": rf"{ALONE}|{_NODE}( {_NODE}){{0,{limits.PAIR_FOLLOWERS_MAX - 1}}}",
    "epoch": r"[1-9][0-9]{0,17}",
    "stands": "yes|no",
    "position": r"0|[1-9][0-9]{0,17}",
    "decided_at_ms": r"0|[1-9][0-9]{0,13}",
    "reason": r"[ -~]{1,500}",
}
"""``position`` and ``decided_at_ms``: the last entry of the leader that decided anything, if it stands; otherwise 0."""
SUMMARY: Final = (
    "{standing}NAME THE LEADER of enclave {enclave} after epoch {epoch}: {leader} signs, {confirmed}. Reason: {reason}"
)


def followers_of(text: str) -> tuple[Principal, ...]:
    """Return the nodes that the parameter names. Raises Malformed."""
    return () if text == ALONE else tuple(map(parse_principal, text.split(" ")))


def followers_text(followers: tuple[Principal, ...]) -> str:
    """Return the parameter that names these nodes."""
    return " ".join(followers) or ALONE


def check_pair(parameters: Mapping[str, str]) -> None:
    """Raise Malformed unless the statement names different nodes, and says of one that stands what it has."""
    nodes = (parse_principal(parameters["leader"]), *followers_of(parameters["followers"]))
    if any(role_of(node) != "node" for node in nodes):
        raise Malformed("statement.parameters", "leader and followers must be spiffe://<trust-domain>/node/<name>")
    if len(set(nodes)) != len(nodes):
        raise Malformed("statement.parameters.followers", "names a node twice")
    if parameters["stands"] == "no" and (parameters["position"], parameters["decided_at_ms"]) != ("0", "0"):
        raise Malformed("statement.parameters.position", "is 0, and decided_at_ms too, unless the leader stands")


def spoken(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return what sounds odd as a bare value, in words."""
    if "followers" not in parameters:
        return {"standing": "", "confirmed": ""}
    alone = parameters["followers"] == ALONE
    return {
        "standing": _standing(parameters),
        "confirmed": "ALONE: what it signs is nowhere else"
        if alone
        else f"and gives out nothing before {parameters['followers'].replace(' ', ' and ')} has it",
    }


def _standing(parameters: Mapping[str, str]) -> str:
    if parameters["stands"] == "no":
        return ""
    at = utc(UnixMillis(int(parameters["decided_at_ms"])))
    return (
        f"WHAT OTHER MACHINES HAVE BEYOND THIS IS GIVEN UP FOR EVER: {parameters['leader']} goes on from its own"
        f" ledger, whose first {parameters['position']} entries decided all that it knows, the last of them at {at}."
        " Make sure that no other machine signs for this enclave. "
    )
