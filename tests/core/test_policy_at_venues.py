"""L14: no key signs for two venues with one kind of secret."""

import itertools
from typing import Any

import pytest

from keyvault.core.intent import PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict
from keyvault.core.policy_findings import Lint
from keyvault.core.policy_kinds import SECRETS, VENUE_KINDS
from keyvault.core.policy_lint import lint
from keyvault.ledger.judge import ALGORITHMS


def signing(*kinds: PayloadKind, name: str = "one", **more: Any) -> Rule:  # noqa: ANN401 - any field
    """Return a rule that lets keys cancel, with payloads of these kinds."""
    fields: dict[str, Any] = {"verdict": Verdict.ALLOW, "keys": frozenset({"a", "b"}), "principals": ANY, "venues": ANY}
    return Rule(id=name, kinds=frozenset(kinds), **fields | more)


REST = {venue: PayloadKind(f"{venue}-rest") for venue in ("binance", "bybit", "okx", "kraken", "deribit", "polymarket")}


def at_two(*rules: Rule) -> list[str]:
    """Return the rules that let a key sign for two venues."""
    return [
        rules[each.index].id
        for each in lint(Policy(version=1, rules=rules, limits=()))
        if (each.field, each.lint) == ("keys", Lint.KEY_AT_TWO_VENUES)
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *itertools.combinations(REST.values(), 2),
        (PayloadKind.BINANCE_WS, PayloadKind.OKX_WS_LOGON),
        (PayloadKind.DERIBIT_AUTH, PayloadKind.KRAKEN_FIX_LOGON),
        (PayloadKind.COINBASE_JWT, PayloadKind.BINANCE_REST),
        (PayloadKind.COINBASE_JWT, PayloadKind.BINANCE_FIX_LOGON),
        (PayloadKind.SOLANA_MESSAGE, PayloadKind.BINANCE_WS_LOGON),
        (PayloadKind.SOLANA_MESSAGE, PayloadKind.COINBASE_JWT),
    ],
)
def test_l14_a_key_signs_for_one_venue(one: PayloadKind, other: PayloadKind) -> None:
    """One secret at two venues signs for one what the other takes: in one rule, in two, by name and by any."""
    assert at_two(signing(one, other)) == ["one"]
    assert at_two(signing(one, other, keys=ANY)) == ["one"]
    second = signing(other, name="two", keys=frozenset({"b", "c"}))
    assert at_two(signing(one), second) == ["two"]
    assert at_two(signing(one, keys=ANY), second) == ["two"]
    assert at_two(signing(one), signing(other, name="two", keys=ANY)) == ["two"]
    assert at_two(signing(one, verdict=Verdict.ESCALATE, quorum="2 of risk"), second) == ["two"]


@pytest.mark.parametrize(
    "rules",
    [
        (signing(PayloadKind.BINANCE_REST, PayloadKind.BINANCE_WS, PayloadKind.BINANCE_FIX_LOGON),),
        (signing(PayloadKind.BYBIT_REST), signing(PayloadKind.OKX_REST, name="two", keys=frozenset({"c"}))),
        (signing(PayloadKind.BYBIT_REST, PayloadKind.COINBASE_JWT, PayloadKind.EVM_TRANSACTION, keys=ANY),),
        (signing(PayloadKind.BINANCE_FIX_LOGON, PayloadKind.OKX_REST, keys=ANY),),
        (signing(PayloadKind.EVM_TRANSACTION, PayloadKind.TYPED_DATA, PayloadKind.HYPERLIQUID_ACTION, keys=ANY),),
        (signing(PayloadKind.BYBIT_REST), signing(PayloadKind.OKX_REST, name="two", verdict=Verdict.DENY)),
        (signing(PayloadKind.BYBIT_REST), signing(PayloadKind.OKX_REST, name="two", shadow=True)),
        (
            signing(PayloadKind.BYBIT_REST),
            signing(PayloadKind.OKX_REST, name="two", keys=None, verdict=Verdict.ESCALATE, quorum="2 of risk"),
        ),
    ],
)
def test_l14_is_of_permissions_with_one_kind_of_secret(rules: tuple[Rule, ...]) -> None:
    """Kinds of one venue, keys of their own, other kinds of secrets, and rules that permit nothing are sound."""
    assert at_two(*rules) == []


def test_l14_says_what_is_wrong() -> None:
    """It names a key, the venues, the rule that it was permitted by, and what would be right."""
    rules = (signing(PayloadKind.BYBIT_REST), signing(PayloadKind.OKX_REST, name="two"))
    problems = [
        each.problem for each in lint(Policy(version=1, rules=rules, limits=())) if each.lint is Lint.KEY_AT_TWO_VENUES
    ]
    assert problems == [
        (
            "a may sign for bybit, okx (with rule one), each with HMAC: what is signed for one can be sent to another;"
            " write a rule for each venue, with keys of its own"
        )
    ]


def test_l14_knows_every_kind_whose_text_says_no_venue() -> None:
    """Each kind that a key without a curve of its own chains signs is known, with the secrets that decoders ask for."""
    words = {"HMAC_SHA256": "HMAC", "HMAC_SHA512": "HMAC", "ED25519": "Ed25519", "P256": "P-256"}
    signed = {
        kind: {words[each] for each in algorithms if each in words}
        for kind, algorithms in ALGORITHMS.items()
        if kind is not PayloadKind.RAW_DIGEST
    }
    assert {kind: secrets for kind, (_, secrets) in SECRETS.items()} == {k: some for k, some in signed.items() if some}
    assert SECRETS.keys() - VENUE_KINDS == {PayloadKind.SOLANA_MESSAGE}
