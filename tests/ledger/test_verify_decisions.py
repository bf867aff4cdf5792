"""The auditor judges every decision again, by the policy of its time."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keyvault import intents
from keyvault.core.errors import Malformed
from keyvault.core.events import SignatureIssued
from keyvault.core.intent import Operation, PayloadKind, Signer
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Rule, Verdict
from keyvault.ledger.codec import encode
from keyvault.ledger.judge import ALGORITHMS
from keyvault.ledger.report import Problem, Report
from keyvault.ledger.verify import verify
from tests.client.scripted import Keys
from tests.every_format import ALGORITHMS as KEYS
from tests.every_format import FORMATS, Format
from tests.intents.building import dynamic_fee, transaction
from tests.ledger.ledgers import RULE, Ledger, hmac_key, sample, secp256k1_key
from tests.worlds import BOT, OTHER_BOT

GOOD = sample(4)


def _first(report: Report) -> Problem:
    assert not report.ok
    return report.problems[0]


def _misjudged(**changes: object) -> SignatureIssued:
    """Return a good last signature, decided as the changes say."""
    return replace(GOOD.issued("k1"), **changes)  # type: ignore[arg-type]  # test glue


MISJUDGED = {
    "another rule": (_misjudged(rules=("transfers",)), "allows it by digests, the entry says by transfers"),
    "a rule too many": (_misjudged(rules=("digests", "digests")), "allows it by digests, the entry says by"),
    "no effect": (_misjudged(effects=(), rules=()), "refuses its effects"),
    "another principal": (
        _misjudged(request=replace(GOOD.issued("k1").request, principal=OTHER_BOT)),
        "refuses its effects",
    ),
    "another digest": (
        _misjudged(request=replace(GOOD.issued("k1").request, payload=GOOD.refused().request.payload)),
        "not the digest that was asked for",
    ),
    "another kind of key": (
        replace(GOOD.issued("e1"), request=replace(GOOD.issued("k1").request, key="e1")),
        "cannot be signed by a key with algorithm ED25519",
    ),
}


@pytest.mark.parametrize(("event", "words"), MISJUDGED.values(), ids=MISJUDGED.keys())
def test_a_decision_that_policy_does_not_give_is_named(event: SignatureIssued, words: str) -> None:
    """A genuine signature under a checkpoint, which the policy in force did not allow so, is named by index."""
    problem = _first(verify([*GOOD.entries, encode(event)], GOOD.checkpoints))
    assert problem.index == len(GOOD.entries)
    assert words in problem.sentence


def test_a_key_of_the_other_hmac_is_named() -> None:
    """What a venue takes with HMAC-SHA256 is of no use from a key for HMAC-SHA512: the server signs no such thing."""
    ledger = sample(4)
    ledger.create_key("h5", hmac_key(KeyAlgorithm.HMAC_SHA512))
    ledger.sign_checkpoint()
    assert verify(ledger.entries, ledger.checkpoints).ok
    index = ledger.add(ledger.issued("h5"))
    problem = _first(verify(ledger.entries, ledger.checkpoints))
    assert problem.index == index
    assert "cannot be signed by a key with algorithm HMAC_SHA512" in problem.sentence


def test_a_decision_is_judged_by_the_policy_of_its_time() -> None:
    """What an older policy allowed stays right under a narrower one; what comes after that is judged by the new."""
    ledger = Ledger()
    ledger.start()
    ledger.create_key("k1", secp256k1_key())
    ledger.add(ledger.issued("k1"))
    ledger.publish_policy(replace(RULE, keys=frozenset({"another"})))
    ledger.sign_checkpoint()
    assert verify(ledger.entries, ledger.checkpoints).ok
    index = ledger.add(ledger.issued("k1"))
    assert _first(verify(ledger.entries, ledger.checkpoints)).index == index


def _said_to_send(wei: int, *, signed: bytes | None = None) -> Ledger:
    """Return a ledger with a signature over a transfer of 1.5 ether, of which the entry says that it sends ``wei``."""
    ledger = Ledger()
    ledger.start()
    key = secp256k1_key()
    ledger.create_key("k1", key)
    small = Rule(
        id="small",
        verdict=Verdict.ALLOW,
        keys=frozenset({"k1"}),
        principals=frozenset({BOT}),
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        operations=frozenset({Operation.TRANSFER}),
        chains=ANY,
        destinations=ANY,
        amount_max=wei,
        fee_max=10**18,
    )
    ledger.publish_policy(small)
    payload = transaction(dynamic_fee(value=(15 * 10**17).to_bytes(8)))
    intent = intents.parse(payload, Signer(algorithm=key.algorithm, public_key=key.public_key))
    good = ledger.issued("k1")
    ledger.add(
        replace(
            good,
            request=replace(good.request, payload=payload),
            signing_input=signed or intent.signing_input,
            effects=(replace(intent.effects[0], amount=wei),),
            completeness=intent.completeness,
            slot=intent.slot,
            expires_at=intent.expires_at,
            rules=("small",),
            signature=key.sign(signed or intent.signing_input),
        )
    )
    ledger.sign_checkpoint()
    return ledger


def test_what_a_payload_does_is_decoded_again() -> None:
    """A leader that says 0.1 ether of a transfer of 1.5, under a rule that allows 0.1, is found out by the bytes."""
    lie = _said_to_send(10**17)
    assert verify(lie.entries, lie.checkpoints).ok, "without decoders what it sends is the server's word"
    found = verify(lie.entries, lie.checkpoints, read=intents.parse)
    assert "its payload does something else than the entry says" in _first(found).sentence
    truth = _said_to_send(15 * 10**17)
    assert verify(truth.entries, truth.checkpoints, read=intents.parse).ok


def test_what_was_signed_is_what_the_payload_says() -> None:
    """A genuine signature over other bytes than those that the entry shows is found, too."""
    other = _said_to_send(15 * 10**17, signed=b"?" * 32)
    found = verify(other.entries, other.checkpoints, read=intents.parse)
    assert "what was signed is not what its payload says" in _first(found).sentence


def test_the_auditor_knows_which_keys_fit_which_payload() -> None:
    """The auditor's own table says what keyvault.intents says, which an audit does not import."""
    keys = Keys()
    said = {each.kind: set(algorithms_of(each, keys)) for each in FORMATS.values()}
    assert said == {kind: {algorithms} for kind, algorithms in ALGORITHMS.items()}


def algorithms_of(asked: Format, keys: Keys) -> Iterator[frozenset[KeyAlgorithm]]:
    """Yield which keys fit, whichever of the fitting keys is asked."""
    for name, algorithm in KEYS.items():
        signer = Signer(algorithm=algorithm, public_key=keys.public(name))
        try:
            intent = intents.parse(asked.make(signer.public_key), signer)
        except (Malformed, ValueError):  # made for another kind of key
            continue
        if algorithm in intent.algorithms:
            yield intent.algorithms
