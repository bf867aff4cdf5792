"""The auditor finds signatures that members did not approve, and says loudly when the glass was broken."""

from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.events import BallotCast, SignatureEscalated
from keyvault.core.statements import decode_statement, proposal_id_of
from keyvault.ledger.codec import encode
from keyvault.ledger.report import Problem, Report, summary
from keyvault.ledger.verify import verify
from tests.ledger.ledgers import Ledger, sample, secp256k1_key

GOOD = sample(4)


def _first(report: Report) -> Problem:
    assert not report.ok
    return report.problems[0]


def _escalated(*approvers: str) -> tuple[Ledger, SignatureEscalated]:
    """Return a ledger in which members were asked about a signature, and these approved it."""
    ledger = Ledger()
    ledger.start()
    ledger.create_key("vault", secp256k1_key())
    escalation = ledger.escalated()
    ledger.add(escalation)
    for name in approvers:
        ledger.vote(proposal_id_of(escalation.statement), getattr(ledger, name))
    return ledger, escalation


def test_a_signature_that_was_dated_back_is_named() -> None:
    """An approved signature may be a minute older than the fact before it; more is an attempt to undo an expiry."""
    ledger, escalation = _escalated("bob", "carol")
    signed = ledger.approved_signature(escalation)
    expired = decode_statement(escalation.statement).expires_at
    ledger.waited_ms = expired - ledger.at
    ledger.add(ledger.refused())
    index = ledger.force(signed)
    problem = _first(verify(ledger.entries, [(len(ledger.entries), ledger.sign_checkpoint())]))
    assert problem.index == index
    assert f"is dated {ledger.events[-2].at - signed.at} ms before a fact" in problem.sentence
    late, escalation = _escalated("bob", "carol")
    signed = late.approved_signature(escalation)
    late.waited_ms = limits.BACKDATING_MS_MAX
    late.add(late.refused())
    late.add(signed)
    late.sign_checkpoint()
    assert late.events[-2].at - signed.at == limits.BACKDATING_MS_MAX
    assert verify(late.entries, late.checkpoints).ok


def test_a_signature_before_its_quorum_is_named() -> None:
    """An approved signature that is dated before the ballot that completed its quorum does not follow."""
    ledger, escalation = _escalated("bob", "carol")
    signed = ledger.approved_signature(escalation)
    index = ledger.force(replace(signed, at=ledger.events[-2].at))
    ledger.sign_checkpoint()
    problem = _first(verify(ledger.entries, ledger.checkpoints))
    assert problem.index == index
    assert "is carried out at" in problem.sentence


@pytest.mark.parametrize("approvers", [(), ("bob",)])
def test_a_signature_without_its_quorum_is_named(approvers: tuple[str, ...]) -> None:
    """Whoever writes the ledger cannot make up a member's approval: the signature does not follow."""
    ledger, escalation = _escalated("bob", "carol")
    signed = ledger.approved_signature(escalation)
    entries = [
        body
        for body, event in zip(ledger.entries, ledger.events, strict=True)
        if not isinstance(event, BallotCast) or event.proposal != signed.proposal or event.member in approvers
    ]
    report = verify([*entries, encode(replace(signed, known=len(entries)))], [])
    assert _first(report).index == len(entries)
    assert "needs 2 of admins; approved so far by " in _first(report).sentence


def test_breaking_the_glass_is_loud() -> None:
    """The summary of an audit says in capitals that the glass was broken, and where; else nothing of it."""
    text = summary(verify(GOOD.entries, GOOD.checkpoints))
    assert f"BREAK GLASS   USED 1 TIMES, in entries {len(GOOD.entries) - 3}: ask why" in text
    assert "approved      1 signatures by keys\ncharters      2 changes\nfreezes       1, 1 lifted" in text
    quiet = Ledger()
    quiet.start()
    assert "BREAK GLASS" not in summary(verify(quiet.entries, []))
