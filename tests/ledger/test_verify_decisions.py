"""The auditor judges every decision again, by the policy of its time."""

from dataclasses import replace

import pytest

from keyvault import intents
from keyvault.core.events import SignatureIssued
from keyvault.core.intent import Payload, PayloadKind
from keyvault.ledger.codec import encode
from keyvault.ledger.judge import ALGORITHMS
from keyvault.ledger.report import Problem, Report
from keyvault.ledger.verify import verify
from tests.intents.building import TIME, dynamic_fee, mail, request, transaction, typed_data
from tests.ledger.ledgers import RULE, Ledger, sample, secp256k1_key
from tests.worlds import OTHER_BOT

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


def test_the_auditor_knows_which_keys_fit_which_payload() -> None:
    """The auditor's own table says what keyvault.intents says, which an audit does not import."""
    payloads = (transaction(dynamic_fee()), typed_data(mail()), request(TIME), raw_digest(bytes(32)))
    assert {each.kind: intents.parse(each).algorithms for each in payloads} == ALGORITHMS


def raw_digest(digest: bytes) -> Payload:
    """Return a digest to sign."""
    return Payload(kind=PayloadKind.RAW_DIGEST, parts=(digest,))
