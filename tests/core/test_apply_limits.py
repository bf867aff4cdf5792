"""Limits from the decision to the fact: dollars are checked again, slots move, a new policy forgets nothing."""

import hashlib
from dataclasses import replace

from keyvault.core.commands import RequestSignature
from keyvault.core.decide import Authorised, decide_signature
from keyvault.core.errors import Reason
from keyvault.core.events import SignatureIssued, SignatureRefused, SignatureRequest
from keyvault.core.ids import KeyId, RequestId
from keyvault.core.intent import Completeness, Effect, Intent, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.limits_check import quotas
from keyvault.core.policy import ANY, Limit, Policy
from keyvault.core.policy_rules import Asset, Per, Prices
from keyvault.core.windows import Reservations
from tests.core.governed import Governed
from tests.worlds import BOT, NOW, allow_digest, allow_transfers, charter, people, policy

TO = "0x" + "ab" * 20
ETHER = 10**18
DOLLARS = Limit(id="dollars", keys=ANY, window_ms=3_600_000, usd_max=1_000_000_000, per=Per.ALL)
PRICES = Prices(
    assets=(Asset(name="ETH", usd=2_000_000_000, decimals=18, places=frozenset({(1, "native")})),),
    as_of=NOW,
    age_ms_max=3_600_000,
)


def priced(*limits: Limit, version: int = 1) -> Policy:
    return replace(policy(allow_transfers(), allow_digest(), limits=limits, version=version), prices=PRICES)


def world(rules: Policy) -> Governed:
    alice, bob = people("alice", "bob")
    made = Governed(alice, bob, rulers=charter(alice, bob), rules=rules)
    made.key()
    return made


def command(request_id: str, amount: int, slot: str | None = None) -> RequestSignature:
    payload = Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(request_id.encode(),))
    effect = Effect(operation=Operation.TRANSFER, chain_id=1, destination=TO, amount=amount, fee_max=0)
    return RequestSignature(
        request=SignatureRequest(request_id=RequestId(request_id), principal=BOT, key="signer", payload=payload),
        intent=Intent(
            kind=payload.kind,
            algorithms=frozenset(KeyAlgorithm),
            signing_input=hashlib.sha256(request_id.encode()).digest(),
            effects=(effect,),
            completeness=Completeness.FULL,
            slot=slot,
        ),
    )


def decided(made: Governed, asked: RequestSignature) -> SignatureIssued | SignatureRefused:
    decision = decide_signature(made.state, Reservations(), asked, made.now, lambda _: "words")
    if isinstance(decision, Authorised):
        return decision.issued(made.state, Signature(value=bytes(64), recovery_id=0))
    assert isinstance(decision, SignatureRefused)
    return decision


def used(made: Governed) -> list[int]:
    state = made.state
    found = quotas(state.policy, state.windows, Reservations(), KeyId("signer"), BOT, made.now)
    return [each.used for each in found]


def test_a_signature_records_what_it_is_worth() -> None:
    """In dollars, by the prices in force; they count until the limit is full."""
    made = world(priced(DOLLARS))
    issued = made.add(decided(made, command("a", ETHER // 4)))
    assert isinstance(issued, SignatureIssued)
    assert issued.usd == 500_000_000
    assert used(made) == [500_000_000]
    refused = decided(made, command("b", ETHER // 4 + 1))
    assert isinstance(refused, SignatureRefused)
    assert (refused.reason, refused.explanation) == (
        Reason.LIMIT_EXCEEDED,
        "limit dollars: all together used 500 of 1000 dollars in 1h; 500 left, this asks for 500.000001",
    )
    assert made.replayed() == made.state


def test_a_fact_that_says_another_worth_is_not_believed() -> None:
    """Whoever folds the ledger computes the dollars again; less, more and none are all wrong."""
    made = world(priced(DOLLARS))
    issued = decided(made, command("a", ETHER // 4))
    assert isinstance(issued, SignatureIssued)
    for usd in (499_999_999, 500_000_001, 0, None):
        assert "dollar" in made.refuses(replace(issued, usd=usd), Reason.STATE_MISMATCH)
    made.add(issued)


def test_a_policy_without_prices_says_nothing_of_dollars() -> None:
    """So that facts from before there were prices are as they were."""
    made = world(policy(allow_transfers()))
    issued = decided(made, command("a", 5))
    assert isinstance(issued, SignatureIssued)
    assert issued.usd is None
    made.refuses(replace(issued, usd=0), Reason.STATE_MISMATCH)


def test_a_slot_that_is_filled_again_counts_its_maximum_in_the_ledger_too() -> None:
    """Decision and fold agree on what is taken back, also when the ledger is read again."""
    made = world(priced(DOLLARS))
    for request_id, amount in (("a", ETHER // 4), ("b", ETHER // 2), ("c", 1)):
        assert isinstance(made.add(decided(made, command(request_id, amount, slot="1:0"))), SignatureIssued)
        made.at += 1_000
    assert used(made) == [1_000_000_000]
    assert isinstance(decided(made, command("d", 1, slot="1:1")), SignatureRefused)
    assert made.replayed() == made.state


def test_what_is_published_later_counts_what_was_signed_before() -> None:
    """The windows of a limit that nobody had thought of are full from the beginning."""
    made = world(priced())
    made.add(decided(made, command("a", ETHER // 2)))
    assert used(made) == []
    proposal = made.propose_policy(priced(DOLLARS, version=2))
    assert made.state.policy.version == 2, proposal.outcome
    assert used(made) == [1_000_000_000]
    assert isinstance(decided(made, command("b", 1)), SignatureRefused)
    assert made.replayed() == made.state
