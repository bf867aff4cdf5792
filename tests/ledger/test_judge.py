"""An escalated signature names its proposal, and no other does."""

import dataclasses

from keyvault.core.events import SignatureIssued, SignatureRequest
from keyvault.core.familiar import Familiar
from keyvault.core.ids import Epoch, KeyId, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.policy import Policy, Rule, Verdict, compile_policy
from keyvault.ledger.judge import misjudged

KEY = KeyId("bridge")
ALLOWING = Rule(
    id="digests",
    verdict=Verdict.ALLOW,
    keys=frozenset({KEY}),
    principals=frozenset({"spiffe://demo/bot/maker"}),
    kinds=frozenset({PayloadKind.RAW_DIGEST}),
    operations=frozenset({Operation.OPAQUE}),
)
ASKING = Rule(id="ask", verdict=Verdict.ESCALATE, quorum="2 of risk", keys=frozenset({KEY}))
PERMITTING = dataclasses.replace(ALLOWING, id="permit", verdict=Verdict.ESCALATE, quorum="2 of risk")
PROPOSAL = b"p" * 32
ISSUED = SignatureIssued(
    at=UnixMillis(1),
    epoch=Epoch(1),
    request=SignatureRequest(
        request_id=RequestId("r"),
        principal=Principal("spiffe://demo/bot/maker"),
        key=KEY,
        payload=Payload(kind=PayloadKind.RAW_DIGEST, parts=(bytes(32),)),
    ),
    key_version=1,
    signing_input=bytes(32),
    effects=(Effect(operation=Operation.OPAQUE),),
    completeness=Completeness.OPAQUE,
    policy_version=1,
    policy_sha256=bytes(32),
    rules=("digests",),
    signature=Signature(value=bytes(64)),
)


def judged(*rules: Rule, proposal: bytes, by: str = "digests") -> str | None:
    """Return what is wrong with the signature, allowed by that rule for that proposal, under these rules."""
    event = dataclasses.replace(ISSUED, rules=(by,), proposal=proposal)
    policy = compile_policy(Policy(version=1, rules=rules, limits=()))
    return misjudged(policy, Familiar(), KEY, KeyAlgorithm.SECP256K1, event)


def test_what_was_not_escalated_names_no_proposal() -> None:
    """Without an escalate rule that matches, a signature stands for itself and a proposal beside it is wrong."""
    assert judged(ALLOWING, proposal=b"") is None
    assert judged(ALLOWING, proposal=PROPOSAL) == ("it names a proposal, but the policy in force does not escalate it")


def test_what_was_escalated_names_its_proposal() -> None:
    """With one that matches, a signature without a proposal is wrong."""
    assert judged(ALLOWING, ASKING, proposal=PROPOSAL) is None
    assert judged(ALLOWING, ASKING, proposal=b"") == "the policy in force escalates it, and no proposal is named"


def test_an_escalate_rule_that_permits_is_named() -> None:
    """A signature that only an escalate rule permits says so; another rule in its place is wrong."""
    assert judged(PERMITTING, proposal=PROPOSAL, by="permit") is None
    assert judged(PERMITTING, proposal=PROPOSAL) == (
        "the policy in force allows it by permit, the entry says by digests"
    )
    assert judged(PERMITTING, proposal=b"", by="permit") == (
        "the policy in force escalates it, and no proposal is named"
    )
