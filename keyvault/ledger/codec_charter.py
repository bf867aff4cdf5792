"""Charter documents: ``core.charter.Charter`` as the bytes of a keyvault.v1.Charter, and back.

A document comes from outside, so reading it checks every bound and takes one form only: two charters that say the same
are the same bytes. Whether it can rule is ``core.charter.check_charter``'s to say.
"""

import hashlib
from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keyvault.core import limits
from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.errors import Malformed
from keyvault.core.ids import MemberName, parse_group_name, parse_member_name, parse_principal
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.ledger.wire import EnumTable, parse_exact
from keyvault.v1 import charter_pb2

ROLES = EnumTable(Role, charter_pb2.Role, "ROLE_")
DUTIES = EnumTable(Duty, charter_pb2.Duty, "DUTY_")
_ED25519_BYTES, _P256_BYTES = 32, 33


def charter_sha256(document: bytes) -> bytes:
    """Return what facts and statements call this document by, 32 bytes."""
    return hashlib.sha256(document).digest()


def encode_charter(charter: Charter) -> bytes:
    """Return the document. Raises Malformed for a key that is neither Ed25519 nor P-256, or a group of strangers."""
    places = {member.name: place for place, member in enumerate(charter.members)}
    try:
        groups = [
            charter_pb2.Group(name=group.name, members=sorted(places[name] for name in group.members))
            for group in charter.groups
        ]
    except KeyError as error:
        raise Malformed("charter.groups", f"{error.args[0]} stands in a group and is not a member") from None
    document = charter_pb2.Charter(
        version=charter.version,
        members=map(_member_to_proto, charter.members),
        groups=groups,
        thresholds=[
            charter_pb2.Threshold(
                duty=DUTIES.numbers[each.duty], quorum=quorum_text(each.quorum), delay_ms=each.delay_ms
            )
            for each in charter.thresholds
        ],
    ).SerializeToString(deterministic=True)
    if len(document) > limits.CHARTER_BYTES_MAX:
        raise Malformed("charter", f"has {len(document)} bytes; {limits.CHARTER_BYTES_MAX} is the most")
    return document


def decode_charter(document: bytes) -> Charter:
    """Return what the document says, or raise Malformed with the field that is wrong."""
    if len(document) > limits.CHARTER_BYTES_MAX:
        raise Malformed("charter", f"longer than {limits.CHARTER_BYTES_MAX} bytes")
    message = parse_exact(charter_pb2.Charter, document)
    if message.version < 1:
        raise Malformed("charter.version", "must be 1 or greater")
    _at_most("charter.members", message.members, limits.MEMBERS_MAX)
    _at_most("charter.groups", message.groups, limits.GROUPS_MAX)
    _at_most("charter.thresholds", message.thresholds, len(Duty))
    members = tuple(map(_member, message.members))
    names = [member.name for member in members]
    charter = Charter(
        version=message.version,
        members=members,
        groups=tuple(_group(group, names) for group in message.groups),
        thresholds=tuple(map(_threshold, message.thresholds)),
    )
    if encode_charter(charter) != document:
        raise Malformed("charter", "is not in the one form that keyvault writes")
    return charter


def _member_to_proto(member: Member) -> charter_pb2.Member:
    return charter_pb2.Member(
        name=member.name,
        roles=sorted(ROLES.numbers[role] for role in member.roles),
        public_keys=map(_compact, member.public_keys),
        principals=sorted(member.principals),
    )


def _member(message: charter_pb2.Member) -> Member:
    _at_most("member.public_keys", message.public_keys, limits.MEMBER_KEYS_MAX)
    _at_most("member.principals", message.principals, limits.MEMBER_PRINCIPALS_MAX)
    return Member(
        name=parse_member_name(message.name),
        roles=frozenset(ROLES.word("member.roles", number) for number in message.roles),
        public_keys=tuple(map(_public_key, message.public_keys)),
        principals=frozenset(map(parse_principal, message.principals)),
    )


def _group(message: charter_pb2.Group, names: list[MemberName]) -> Group:
    if any(place >= len(names) for place in message.members):
        raise Malformed("group.members", f"group {message.name[:80]!r} names a member that is not there")
    return Group(name=parse_group_name(message.name), members=frozenset(names[place] for place in message.members))


def _threshold(message: charter_pb2.Threshold) -> Threshold:
    return Threshold(
        duty=DUTIES.word("threshold.duty", message.duty),
        quorum=parse_quorum(message.quorum),
        delay_ms=message.delay_ms,
    )


def _compact(public_key: bytes) -> bytes:
    """Return the short form of SubjectPublicKeyInfo (DER): a thousand members must fit into one entry."""
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("member.public_keys", "not SubjectPublicKeyInfo (DER)") from None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    raise Malformed("member.public_keys", "must be Ed25519 or P-256")


def _public_key(data: bytes) -> bytes:
    """Return SubjectPublicKeyInfo (DER) of the short form; raise Malformed if it is no key."""
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
    try:
        if len(data) == _ED25519_BYTES:
            key = ed25519.Ed25519PublicKey.from_public_bytes(data)
        elif len(data) == _P256_BYTES:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
        else:
            raise Malformed("member.public_keys", f"{len(data)} bytes; Ed25519 has 32, a compressed P-256 point 33")
    except ValueError:
        raise Malformed("member.public_keys", "is no point of P-256") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _at_most(field: str, values: Sequence[object], most: int) -> None:
    if len(values) > most:
        raise Malformed(field, f"{len(values)} of them; {most} is the most")
