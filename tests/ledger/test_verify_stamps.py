"""The auditor makes every stamped payload anew: whoever changes its time, or what was signed, is found."""

from dataclasses import replace

import pytest

from keyvault import intents
from keyvault.core.events import SignatureIssued
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Signer, Stamp, ending
from keyvault.ledger.report import Report
from keyvault.ledger.verify import verify
from tests.every_format import ALGORITHMS, EVERYTHING, FORMATS
from tests.ledger.ledgers import Ledger, hmac_key, secp256k1_key
from tests.ledger.token_keys import TokenKey, ed25519_key, p256_key

MAKE = {"eth": secp256k1_key, "p256": p256_key, "ed": ed25519_key}
PLAIN = frozenset({"evm-transaction", "evm-authorization", "evm-message", "typed-data", "solana", "bitcoin", "cosmos"})
STAMPED = [name for name in FORMATS if name not in PLAIN | {"digest"}]
TEXT = "what was signed is not what its payload says"


def made(name: str) -> TokenKey:
    """Return a key that can sign this format."""
    key = FORMATS[name].key
    return MAKE[key]() if key in MAKE else hmac_key(ALGORITHMS[key])


def issued(name: str) -> tuple[Ledger, SignatureIssued]:
    """Return a ledger and the signature of this format that comes next in it."""
    ledger, asked, key = Ledger(rules=(EVERYTHING,)), FORMATS[name], made(name)
    ledger.start()
    ledger.create_key(asked.key, key)
    stamp = Stamp(at=ledger.at, nonce=ledger.at)
    payload = asked.make(key.public_key)
    intent = intents.parse(payload, Signer(algorithm=key.algorithm, public_key=key.public_key, stamp=stamp))
    good = ledger.issued(asked.key)
    event = replace(
        good,
        request=replace(good.request, payload=payload),
        signing_input=intent.signing_input,
        effects=intent.effects,
        completeness=intent.completeness,
        rules=("everything",) * len(intent.effects),
        signature=key.sign(intent.signing_input),
        stamp=stamp if intent.stamped else None,
        slot=intent.slot,
        expires_at=ending(intent, good.at),
    )
    return ledger, event


def audited(ledger: Ledger, event: SignatureIssued) -> Report:
    """Return what an audit says of the ledger with the event at its end, under a checkpoint that a liar signed."""
    ledger.force(event)
    ledger.sign_checkpoint()
    return verify(ledger.entries, ledger.checkpoints, read=intents.parse)


def problem(report: Report) -> str:
    assert not report.ok
    return report.problems[0].sentence


@pytest.mark.parametrize("name", FORMATS)
def test_an_honest_entry_of_every_format_passes(name: str) -> None:
    """Whatever can be signed can be audited."""
    assert audited(*issued(name)).ok


@pytest.mark.parametrize("name", STAMPED)
def test_a_changed_stamp_is_found(name: str) -> None:
    """An entry that says another time than the one that was signed, or none, is named."""
    ledger, event = issued(name)
    assert event.stamp is not None
    later = Stamp(at=UnixMillis(event.stamp.at + 60_000), nonce=event.stamp.nonce + 60_000)
    assert TEXT in problem(audited(ledger, replace(event, stamp=later)))
    ledger, event = issued(name)
    assert not audited(ledger, replace(event, stamp=None)).ok


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_a_stamp_where_none_belongs_is_found(name: str) -> None:
    """An entry that claims a time for a payload that takes none is named."""
    ledger, event = issued(name)
    stamp = Stamp(at=ledger.at, nonce=ledger.at)
    assert "says of its time what its payload does not" in problem(audited(ledger, replace(event, stamp=stamp)))


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "digest"])
def test_a_changed_signing_input_is_found(name: str) -> None:
    """A genuine signature over other bytes than those that payload and stamp make is named."""
    ledger, event = issued(name)
    other = bytes((event.signing_input[0] ^ 1,)) + event.signing_input[1:]
    signature = ledger.token[FORMATS[name].key].sign(other)
    found = audited(ledger, replace(event, signing_input=other, signature=signature))
    assert TEXT in problem(found)
