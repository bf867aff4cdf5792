"""A bundle of evidence knows which destinations were known, if a rule asks."""

import json
from dataclasses import replace

import pytest

from keyvault import intents
from keyvault.core.commands import RequestSignature
from keyvault.core.events import SignatureEscalated
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Rule, Verdict
from keyvault.core.statements import proposal_id_of
from keyvault.intents import rlp
from keyvault.ledger.errors import Unproven
from keyvault.ledger.gather import evidence_of
from tests.intents.building import dynamic_fee, transaction
from tests.ledger.bundles import shown
from tests.ledger.ledgers import Ledger, secp256k1_key
from tests.worlds import BOT

ETHER = 10**18
PAY = Rule(
    id="pay",
    verdict=Verdict.ALLOW,
    keys=frozenset({"k1"}),
    principals=frozenset({BOT}),
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    operations=frozenset({Operation.TRANSFER}),
    chains=ANY,
    destinations=ANY,
    amount_max=ANY,
    fee_max=ANY,
)
NEW = Rule(id="new", verdict=Verdict.ESCALATE, quorum="1 of admins", keys=frozenset({"k1"}), first_seen_ms=1)
LARGE = Rule(id="large", verdict=Verdict.ESCALATE, quorum="2 of admins", keys=frozenset({"k1"}), amount_above=ETHER)


def paid(ledger: Ledger, wei: int, to: bytes) -> tuple[SignatureEscalated, int]:
    """Ask for a transfer, let two members approve it, record it; return what was asked, and the signature's place."""
    payload = transaction(dynamic_fee(value=rlp.integer(wei), to=to))
    request = replace(ledger._request("k1", bytes(32), None), payload=payload)
    asked = ledger._decide(RequestSignature(request=request, intent=intents.parse(payload, intents.ANYBODY)))
    assert isinstance(asked, SignatureEscalated)
    ledger.add(asked)
    for person in (ledger.bob, ledger.carol):
        ledger.vote(proposal_id_of(asked.statement), person)
    return asked, ledger.add(ledger.approved_signature(asked))


def begun() -> Ledger:
    ledger = Ledger(rules=(PAY, NEW, LARGE))
    ledger.start()
    ledger.create_key("k1", secp256k1_key())
    return ledger


def test_a_known_destination_is_known_in_the_bundle() -> None:
    """The bundle of a large payment to a known destination has the signature that made it known, and checks."""
    ledger, to = begun(), b"\x35" * 20
    first, known = paid(ledger, ETHER // 2, to)
    paid(ledger, ETHER // 2, b"\x36" * 20)
    large, index = paid(ledger, 2 * ETHER, to)
    assert (first.rules, large.rules) == (("new",), ("large",))
    data, found = shown(ledger, index)
    places = [each["index"] for each in json.loads(data)["entries"]]
    assert known in places
    assert index - 4 not in places  # the other payment has nothing to do with it
    assert found.account.case.id == proposal_id_of(large.statement)


def test_the_address_that_another_resembles_is_in_the_bundle() -> None:
    """What a look-alike rule rests on stands in the bundle, too: the first signature for an address of that shape."""
    twins = (b"\x35" * 20, b"\x35\x35" + b"\x11" * 16 + b"\x35\x35")
    ledger = Ledger(
        rules=(PAY, NEW, replace(NEW, id="twin", quorum="2 of admins", first_seen_ms=None, look_alike=True))
    )
    ledger.start()
    ledger.create_key("k1", secp256k1_key())
    _, known = paid(ledger, 1, twins[0])
    asked, index = paid(ledger, 1, twins[1])
    assert asked.rules == ("new", "twin")
    data, _ = shown(ledger, index)
    assert known in [each["index"] for each in json.loads(data)["entries"]]


def test_history_that_was_left_out_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the earlier signature the destination is new, the statement is another, and the bundle is none."""
    ledger, to = begun(), b"\x35" * 20
    paid(ledger, ETHER // 2, to)
    _, index = paid(ledger, 2 * ETHER, to)
    ledger.sign_checkpoint()
    monkeypatch.setattr("keyvault.ledger.gather._history", lambda *_: frozenset())
    with pytest.raises(Unproven, match="the statement is not about the request"):
        evidence_of(ledger, index=index)


def test_the_first_content_of_a_slot_is_in_the_bundle() -> None:
    """What a rule about replaced signatures rests on: the signature that filled the slot first."""
    again = Rule(
        id="again", verdict=Verdict.ESCALATE, quorum="2 of admins", keys=frozenset({"k1"}), when="replaces == 'other'"
    )
    ledger = Ledger(rules=(PAY, NEW, again))
    ledger.start()
    ledger.create_key("k1", secp256k1_key())
    first, known = paid(ledger, 1, b"\x35" * 20)
    other, index = paid(ledger, 1, b"\x36" * 20)
    assert first.slot == other.slot
    assert (first.rules, other.rules) == (("new",), ("new", "again"))
    data, _ = shown(ledger, index)
    assert known in [each["index"] for each in json.loads(data)["entries"]]
