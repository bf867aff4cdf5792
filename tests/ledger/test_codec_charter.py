"""Charters as bytes: one form, bounded, and strict with what comes from elsewhere."""

from dataclasses import replace

import pytest
from hypothesis import given

from keyvault.core import limits
from keyvault.core.charter import Charter, Duty, Group, Member, Role
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import (
    ProposalMade,
)
from keyvault.core.ids import GroupName, MemberName
from keyvault.ledger.codec import decode, decode_charter, encode, encode_charter
from keyvault.ledger.codec_charter import DUTIES, ROLES
from keyvault.v1 import charter_pb2
from tests.ledger.event_strategies import charters
from tests.ledger.golden import (
    BOB,
    CHARTER,
    EVENTS,
    changed,
)
from tests.worlds import Person, spki


@given(charters())
def test_any_charter_survives(charter: Charter) -> None:
    """A charter is written and read as the same, and only as the bytes that were written."""
    document = encode_charter(charter)
    assert decode_charter(document) == charter


def _charter(**fields: object) -> bytes:
    message = charter_pb2.Charter.FromString(encode_charter(CHARTER))
    for name, value in fields.items():
        *parents, last = name.split("__")
        target: object = message
        for parent in parents:
            target = target[int(parent)] if parent.isdigit() else getattr(target, parent)  # type: ignore[index]  # a path into a message
        if isinstance(value, list):
            del getattr(target, last)[:]
            getattr(target, last).extend(value)
        else:
            setattr(target, last, value)
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"version": 0}, "charter.version"),
        ({"members__0__roles": [2, 1]}, "one form"),
        ({"members__0__roles": [1, 1]}, "one form"),
        ({"members__0__roles": [0]}, "member.roles"),
        ({"members__0__name": "Alice"}, "member"),
        ({"members__0__principals": ["alice"]}, "principal"),
        ({"members__0__principals": ["spiffe://a/bot/b", "spiffe://a/bot/a"]}, "one form"),
        ({"members__0__public_keys": [b"\x04" + b"x" * 64]}, "65 bytes"),
        ({"members__0__public_keys": [b"\x02" + b"\xff" * 32]}, "is no point of P-256"),
        ({"members__0__public_keys": [b"x" * 32] * 9}, "member.public_keys: 9"),
        ({"groups__0__members": [2, 0]}, "one form"),
        ({"groups__0__members": [0, 0]}, "one form"),
        ({"groups__0__members": [3]}, "names a member that is not there"),
        ({"groups__0__name": ""}, "group"),
        ({"thresholds__0__quorum": "1 of risk and  1 of owners"}, "one form"),
        ({"thresholds__0__quorum": "(1 of risk)"}, "one form"),
        ({"thresholds__0__quorum": ""}, "quorum"),
        ({"thresholds__0__duty": 0}, "threshold.duty"),
        ({"thresholds__0__duty": 99}, "threshold.duty"),
    ],
)
def test_a_charter_has_one_form(fields: dict[str, object], complaint: str) -> None:
    """Two charters that say the same are the same bytes; what cannot be understood is named."""
    with pytest.raises(Malformed) as refused:
        decode_charter(_charter(**fields))
    assert complaint in str(refused.value)
    with pytest.raises(Corrupt):
        decode(changed("genesis", charter=_charter(**fields)))


def test_charter_documents_are_bounded_and_whole() -> None:
    """A document that is too long, no protobuf, or has unknown fields is refused; too long a charter is not written."""
    good = encode_charter(CHARTER)
    for document in (bytes(limits.CHARTER_BYTES_MAX + 1), b"\xff\xff", good + b"\xf8\x06\x01", good + good):
        with pytest.raises(Malformed):
            decode_charter(document)
    stranger = Group(name=GroupName("g"), members=frozenset({MemberName("nobody")}))
    with pytest.raises(Malformed, match="nobody stands in a group"):
        encode_charter(replace(CHARTER, groups=(stranger,)))
    crowd = tuple(
        Member(name=MemberName(f"member-{number:050}"), roles=frozenset({Role.ADMIN}), public_keys=(BOB,))
        for number in range(1000)
    )
    with pytest.raises(Malformed, match="is the most"):
        encode_charter(Charter(version=1, members=crowd, groups=(), thresholds=()))


def test_a_thousand_members_fit_into_one_entry() -> None:
    """A charter of a thousand members, with short names and one key each, is proposed in one entry."""
    person = Person("m")
    members = tuple(
        Member(name=MemberName(f"m{number}"), roles=frozenset({Role.APPROVER}), public_keys=(spki(person.key),))
        for number in range(1000)
    )
    everybody = Group(name=GroupName("all"), members=frozenset(member.name for member in members))
    large = Charter(version=2, members=members, groups=(everybody,), thresholds=CHARTER.thresholds)
    document = encode_charter(large)
    proposed = EVENTS["proposal-made-charter"]
    assert isinstance(proposed, ProposalMade)
    body = encode(replace(proposed, document=document, charter=large))
    assert len(body) <= limits.ENTRY_BYTES_MAX


def test_words_of_charters_have_numbers() -> None:
    """Every role and duty can be written."""
    assert set(ROLES.numbers) == set(Role)
    assert set(DUTIES.numbers) == set(Duty)
