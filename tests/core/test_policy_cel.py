"""Predicates: a small part of CEL in which nothing can fail, and which only takes away."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict, evaluate
from keyvault.core.policy_cel import VARIABLES, compile_predicate
from keyvault.core.policy_cel_words import told

HOME = "0x" + "ab" * 20
BOT = Principal("spiffe://demo/bot/maker")
TRANSFER = Effect(operation=Operation.TRANSFER, chain_id=1, destination=HOME, amount=100, fee_max=10)
PAY = Rule(
    id="pay",
    verdict=Verdict.ALLOW,
    keys=ANY,
    principals=ANY,
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    operations=frozenset({Operation.TRANSFER}),
    chains=ANY,
    destinations=ANY,
    amount_max=ANY,
    fee_max=ANY,
)
DENY = Rule(id="never", verdict=Verdict.DENY)


def passes(*rules: Rule, effect: Effect = TRANSFER, expires_at: UnixMillis | None = None) -> bool:
    """Say whether the rules let the effect through."""
    asked = Intent(
        kind=PayloadKind.EVM_TRANSACTION,
        algorithms=frozenset(),
        signing_input=b"",
        effects=(effect,),
        completeness=Completeness.FULL,
        expires_at=expires_at,
    )
    try:
        evaluate(Policy(version=1, rules=rules, limits=()), key=KeyId("hot"), principal=BOT, intent=asked)
    except Refused as refused:
        if refused.reason is Reason.POLICY_ERROR:
            raise
        return False
    return True


def holds(when: str, **change: object) -> tuple[bool, bool]:
    """Return whether the predicate holds in an allow rule, and whether it does in a deny rule."""
    effect = dataclasses.replace(TRANSFER, **change)  # type: ignore[arg-type]  # names of fields
    allow = passes(dataclasses.replace(PAY, when=when), effect=effect)
    return allow, not passes(PAY, dataclasses.replace(DENY, when=when), effect=effect)


@pytest.mark.parametrize(
    ("when", "true"),
    [
        ("amount <= 100", True),
        ("amount < 100", False),
        ("amount == 100 && fee != 11", True),
        ("!(amount > 5) || chain_id == 1", True),
        ("amount > 5 ? chain_id == 2 : chain_id == 1", False),
        ("chain_id in [1, 10, 137]", True),
        ("chain_id in []", False),
        ("operation == 'transfer'", True),
        ("destination.startsWith('0xab') && destination.endsWith(\"abab\")", True),
        ("destination.contains('cd')", False),
        ("destination.matches('^0x(ab)+$')", True),
        ("destination.size() == 42", True),
        ("principal == 'spiffe://demo/bot/maker'", True),
        ("completeness == 'FULL'", True),
        ("completeness != 'FULL'", False),
        ("minute_of_week == 4320", True),
        ("true", True),
        ("false", False),
        ("  amount\n\t<=  100 ", True),
        ("'transfer' == operation", True),
        ("operation.startsWith('trans')", True),
        ("operation in ['transfer', 'call'] && destination.matches('0x.*') && principal != '0xAB'", True),
    ],
)
def test_a_predicate_is_what_it_says(when: str, true: bool) -> None:  # noqa: FBT001 (a parameter of the table)
    """Comparisons, and, or, not, a choice, membership and what can be asked of a text; the same in every rule."""
    assert holds(when) == (true, true)


def test_what_restricts_reads_the_account_of_a_destination() -> None:
    """No tag passes by a deny rule; what allows means exactly what it says."""
    tagged = dataclasses.replace(TRANSFER, destination=HOME + "?memo=1")
    when = f"destination == '{HOME}'"
    assert not passes(PAY, dataclasses.replace(DENY, when=when), effect=tagged)
    assert not passes(dataclasses.replace(PAY, when=when), effect=tagged)
    exact = f"destination == '{HOME}?memo=1'"
    assert passes(dataclasses.replace(PAY, when=exact), effect=tagged)
    with pytest.raises(Malformed, match="what restricts goes by accounts"):
        compile_predicate(exact, unknown_holds=True)


@pytest.mark.parametrize(
    ("when", "stated", "true"),
    [
        ("source == ''", {}, True),
        (f"source == '{HOME}'", {"source": HOME.upper().replace("X", "x")}, True),
        ("source == ''", {"source": HOME}, False),
        ("via == ''", {}, True),
        ("via == 'app-data 0xab'", {"via": "app-data 0xab"}, True),
        ("via == ''", {"via": f"safe {HOME} > multisend"}, False),
        (f"via.startsWith('safe {HOME}')", {"via": f"safe {HOME} > multisend"}, True),
    ],
)
def test_a_predicate_reads_whose_asset_it_is_and_what_it_stands_in(
    when: str,
    stated: dict[str, object],
    true: bool,  # noqa: FBT001 (a parameter of the table)
) -> None:
    """Both are empty for what the signer's own account does by itself; a source has one spelling."""
    assert holds(when, **stated) == (true, true)


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("", "at character 1: it ends where a fact"),
        ("amount", "is of type int, and must be true or false"),
        ("'yes'", "is of type string"),
        ("amount == 'x'", "at character 8: == does not fit a number and a text"),
        ("amount <", "at character 9: it ends where"),
        ("amount + 1 > 2", "'+' is not part of a predicate: there is no arithmetic"),
        ("amount / fee > 2", "there is no arithmetic"),
        ("-1 < amount", "there is no arithmetic"),
        ("amount > 1.5", "> does not fit a number and a double"),
        ("labels.desk == 'a'", "labels is not known"),
        ("request_id == 'a'", "request_id is not known"),
        ("now() > 5", "now is not known"),
        ("destination.now()", "now is not known"),
        ("destination.startsWith == 'a'", "cannot be the operand"),
        ("int(destination) > 5", "int is not known"),
        ("[1, 2].all(x, x > amount)", "a list may only stand behind in"),
        ("chain_id in [1].map(x, x)", "map is not known"),
        ("has(destination.x)", "has is not known"),
        ("{'a': 1}.size() > 0", "is not part of a predicate"),
        ("amount > 9223372036854775808", "the number is above 2^63 - 1"),
        ("destination == 'a\\u0041'", "is not part of a predicate"),
        ("destination == 'é'", "is not part of a predicate"),
        ("destination == r'a'", "r is not known"),
        ("destination == '''a'''", "two texts stand side by side"),
        ("'''a'in''' == destination || [1].all(x, true) || 'in'", "two texts stand side by side"),
        ('""" == destination || """ == destination', "two texts stand side by side"),
        ("amount > 1 // rest", "there is no arithmetic"),
        ("destination[0] == 'a'", "a list may only stand behind in"),
        ("amount = 1", "is not part of a predicate"),
        ("venue == 'Binance'", "'Binance' is never a venue: there is binance, bybit"),
        ("'Binance' != venue", "'Binance' is never a venue"),
        ("venue in ['binance', 'OKX']", "'OKX' is never a venue"),
        ("replaces == 'another'", "'another' is never a replaces"),
        ("completeness == 'OPAQUE'", "'OPAQUE' is never a completeness: there is FULL, PARTIAL"),
        ("asset == 'XXBT'", "'XXBT' is never a asset: write XBT"),
        ("symbol in ['XBTUSD', 'XXBTZUSD']", "'XXBTZUSD' is never a symbol: write XBTUSD"),
        ("side == 'buy'", "'buy' is never a side: there is BUY, SELL"),
        ("amount > 5 && operation == 'swap'", "'swap' is never a operation"),
        (f"destination == '0x{'AB' * 20}'", f"is never a destination: write 0x{'ab' * 20}"),
        ("destination.startsWith('0xAB')", "write 0xab"),
        ("selector == '0xA9059CBB'", "write 0xa9059cbb"),
        ("destination.matches('[')", "'[' is no pattern (RE2)"),
        ("destination.matches('(?=a)')", "is no pattern (RE2)"),
        ("destination.matches(symbol)", "matches takes one text, written out"),
        ("destination.matches('a' == symbol ? 'b' : 'c')", "matches takes one text, written out"),
        ("amount; true", "is not part of a predicate"),
        ("x" * 1_001, f"longer than {limits.PREDICATE_CHARS_MAX}"),
        ("(" * 13 + "true" + ")" * 13, f"nested deeper than {limits.PREDICATE_DEPTH_MAX}"),
    ],
)
def test_what_is_not_of_the_language_is_refused_before_it_decides(when: str, problem: str) -> None:
    """Unknown names, other types, arithmetic, macros, comments, escapes, other quotes, length and depth: with why."""
    with pytest.raises(Malformed) as refused:
        compile_predicate(when, unknown_holds=False)
    assert refused.value.field == "when"
    assert problem in refused.value.problem


@pytest.mark.parametrize(
    ("when", "change"),
    [
        ("amount <= 5", {"amount": None}),
        ("amount > 5", {"amount": None}),
        ("venue == 'binance'", {}),
        ("venue != 'binance'", {}),
        ("usd_micros < 5", {}),
        ("validity_ms < 5", {}),
        ("price_deviation_bps < 5", {}),
        ("chain_id == 1", {"chain_id": None, "network": "solana"}),
        ("true || amount > 5", {"amount": None}),
        ("false && amount > 5", {"amount": None}),
    ],
)
def test_what_is_not_stated_fails_in_an_allow_rule_and_holds_in_a_deny_rule(
    when: str, change: dict[str, object]
) -> None:
    """Fail closed both ways, whatever else stands beside the fact: no `||` hides that it is missing."""
    assert holds(when, **change) == (False, True)


@pytest.mark.parametrize("amount", [2**63, 2**64, 2**64 + 1, 2**256 - 1])
def test_an_amount_beyond_64_bits_is_not_stated(amount: int) -> None:
    """CEL's integers end at 2^63-1: what is larger neither wraps around nor counts as small."""
    for when in ("amount <= 5", "amount > 5", "amount >= 0"):
        assert holds(when, amount=amount) == (False, True)


def test_the_largest_integer_is_exact() -> None:
    """2^63-1 and one less are different amounts."""
    most = 2**63 - 1
    assert holds(f"amount == {most}", amount=most) == (True, True)
    assert holds(f"amount == {most}", amount=most - 1) == (False, False)


@given(amount=st.integers(0, 2**63 - 1), bound=st.integers(0, 2**63 - 1))
def test_numbers_compare_as_numbers(amount: int, bound: int) -> None:
    """Over all of 63 bits."""
    assert holds(f"amount <= {bound}", amount=amount) == (amount <= bound, amount <= bound)


@given(text=st.text("ab0x'\" .()|&<>=!?:,[]19~\n", max_size=30))
def test_any_text_is_a_predicate_or_refused(text: str) -> None:
    """No text makes the compiler fail in another way, and what compiles decides without an error."""
    try:
        compile_predicate(text, unknown_holds=False)
    except Malformed:
        return
    holds(text)


WORDS = st.sampled_from(
    [*VARIABLES, "true", "false", "1", "0", "'a'", "in", "[1, 2]", "['a']", ".size()", ".matches('a')", "==", "<", "&&",
     "||", "!", "?", ":", "(", ")", ",", "[", "]", ".startsWith('0x')"]
)  # fmt: skip


@given(words=st.lists(WORDS, max_size=9), amount=st.none() | st.sampled_from([0, 100, 2**63]))
def test_no_predicate_gives_an_error_while_it_runs(words: list[str], amount: int | None) -> None:
    """Whatever compiles is true or false; if a fact is missing an allow rule fails and a deny rule holds."""
    text = " ".join(words)
    try:
        found = compile_predicate(text, unknown_holds=False)
    except Malformed:
        return
    allow, deny = holds(text, amount=amount)
    missing = {"venue", "selector", "primary_type", "symbol", "side", "asset", "contract", "type_hash"}
    missing |= {"usd_micros", "price_deviation_bps", "validity_ms"} | ({"amount"} if amount in (None, 2**63) else set())
    if missing & {name for name, *_ in found.named}:
        assert (allow, deny) == (False, True)
    else:
        assert allow == deny


def test_a_pattern_that_is_slow_elsewhere_is_not_slow() -> None:
    """RE2 has no exponential patterns: a long one on a long text answers."""
    assert holds("destination.matches('(a|a)*(a|a)*(a|a)*b')", destination="a" * 5_000) == (False, False)


def test_a_predicate_that_cannot_be_compiled_decides_nothing() -> None:
    """A policy that never saw the lint does not get past its first compilation."""
    with pytest.raises(Malformed, match="when"):
        passes(dataclasses.replace(PAY, when="amuont > 1"))


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        (
            "destination == 'BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4'",
            "write bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        ),
        (f"destination == '{'52' * 19}9e'", f"write 0x{'52' * 19}9e"),
        (f"destination != '{'52' * 20}'", f"write 0x{'52' * 20}"),
        (f"'{'52' * 20}' == (destination)", f"write 0x{'52' * 20}"),
        (f"destination in ['{HOME}', '{'52' * 20}']", f"write 0x{'52' * 20}"),
        ("destination == 'bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a'", "write qpm2qsz"),
        (f"destination == '0:{'0' * 64}'", "write EQAAAA"),
        ("destination.startsWith('bitcoincash:q')", "have no bitcoincash: leave it out"),
    ],
)
def test_what_restricts_names_accounts_in_their_one_spelling(when: str, problem: str) -> None:
    """A deny rule that names another would deny nothing; in an allow rule it is what the request says."""
    with pytest.raises(Malformed, match=r"what restricts.*goes by accounts") as raised:
        compile_predicate(when, unknown_holds=True)
    assert problem in raised.value.problem
    compile_predicate(when, unknown_holds=False)


@pytest.mark.parametrize("when", [f"'{HOME}' in [destination]", "'a' in [symbol, destination]", "1 in [(chain_id)]"])
def test_a_list_has_no_facts(when: str) -> None:
    """Facts in a list would be compared with texts that nobody looked at."""
    with pytest.raises(Malformed, match=r"a list has texts and numbers, no facts: write .* == ..., for each"):
        compile_predicate(when, unknown_holds=False)


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("(amount > 1", "at character 12: a ) is missing"),
        ("amount > 1)", "at character 11: ) is too much: join conditions by && or ||, or leave it out"),
        (
            "amount > 1 &&\n'a' == 5",
            "at character 19: == does not fit a text and a number",
        ),
        ("side in [1]", "at character 6: in does not fit a text and a list of number: compare what is of one type"),
        ("amount > 99999999999999999999", "at character 10: the number is above 2^63 - 1"),
        ("venue.startsWith()", "at character 17: startsWith is not used like that: write it behind a text"),
    ],
)
def test_what_the_compiler_says_is_said_in_words(when: str, problem: str) -> None:
    """Where it is, what is wrong and what to do, like all other findings."""
    with pytest.raises(Malformed) as raised:
        compile_predicate(when, unknown_holds=False)
    assert raised.value.problem.startswith(problem)


def test_what_is_not_known_of_the_compiler_is_told_as_it_is() -> None:
    """Another version may say other things; nothing is lost, and nothing is long."""
    assert told("", "x") == "cannot be compiled: the compiler does not say why"
    assert told("boom", "x") == "cannot be compiled: boom"
    assert told("INVALID_ARGUMENT: ERROR: <input>:1:2: odd " + "x" * 900, "x") == "at character 2: odd " + "x" * 156
