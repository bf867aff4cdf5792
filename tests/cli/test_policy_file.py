"""Policies as YAML: what is read, everything that is wrong with its place, and back to text."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.cli.policy_file import PolicyFileError, format_policy, parse_policy
from keyvault.core import limits
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Anything, Limit, Policy, Rule, Verdict
from keyvault.core.policy_lint import lint
from keyvault.core.policy_values import AMOUNT_MAX

CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55, test vector

EXAMPLE = f"""\
version: 2
rules:
  - id: pay-treasury
    verdict: allow
    keys: [eth-hot]
    principals: [spiffe://demo/bot/maker]
    kinds: [evm-transaction]
    operations: [transfer]
    chains: [1]
    destinations: ["{CHECKSUMMED}"]
    amount: 1.5 ether
    fee: 0.01 ether
  - id: trade
    verdict: allow
    keys: any
    principals: any
    kinds: [binance-rest]
    venues: [binance]
    symbols: [BTCUSDT]
limits:
  - id: eth-hot-day
    keys: [eth-hot]
    window: 24h
    count: 1000
    amount: 10 ether
    chain: 1
"""

PARSED = Policy(
    version=2,
    rules=(
        Rule(
            id="pay-treasury",
            verdict=Verdict.ALLOW,
            keys=frozenset({"eth-hot"}),
            principals=frozenset({"spiffe://demo/bot/maker"}),
            kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
            operations=frozenset({Operation.TRANSFER}),
            chains=frozenset({1}),
            destinations=frozenset({CHECKSUMMED.lower()}),
            amount_max=1_500_000_000_000_000_000,
            fee_max=10_000_000_000_000_000,
        ),
        Rule(
            id="trade",
            verdict=Verdict.ALLOW,
            keys=ANY,
            principals=ANY,
            kinds=frozenset({PayloadKind.BINANCE_REST}),
            venues=frozenset({"binance"}),
            symbols=frozenset({"BTCUSDT"}),
        ),
    ),
    limits=(
        Limit(
            id="eth-hot-day",
            keys=frozenset({"eth-hot"}),
            window_ms=86_400_000,
            count_max=1_000,
            amount_max=10**19,
            chain_id=1,
        ),
    ),
)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyFileError) as caught:
        parse_policy(textwrap.dedent(text), name="p.yaml")
    return caught.value.problems


def deny_rule(field: str) -> str:
    return f"version: 1\nrules:\n  - id: a\n    verdict: deny\n    {field}\n"


def test_a_file_is_read() -> None:
    """Every field of the example arrives in the policy, addresses in lower case, amounts in wei."""
    assert parse_policy(EXAMPLE, name="p.yaml") == PARSED


def test_an_empty_policy_needs_a_version_only() -> None:
    """A policy without rules refuses everything and may be written."""
    assert parse_policy("version: 1\nrules:\n", name="p.yaml") == Policy(version=1, rules=(), limits=())


def test_all_problems_are_told_at_once_with_their_places() -> None:
    """One look at the messages is enough to mend the whole file."""
    assert problems(
        """\
        version: 2.0
        ruls: []
        rules:
          - id: a
            verdict: alow
            keys: [any]
            principal: any
            kinds: evm-transaction
            chains: [1, 1, 1.0, 0x1]
            destinations: ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", 0x12]
            amount: 1.5
            fee: 0.0000000001 gwei
          - id: c
            id: d
            verdict: deny
            principals: [maker]
            amount:
          - [a]
        limits:
          - id: q
            window: 8d
        """
    ) == (
        "p.yaml:1:10: version: '2.0' is not a whole number: digits only, as in 1000",
        "p.yaml:2:1: unknown field 'ruls' in a policy: did you mean rules?",
        "p.yaml:5:14: verdict: unknown verdict 'alow': did you mean allow?",
        "p.yaml:6:12: keys: write any without brackets, keys: any",
        "p.yaml:7:5: unknown field 'principal' in a rule: did you mean principals?",
        "p.yaml:8:12: kinds must be a list like [a, b]",
        "p.yaml:9:17: chains: 1 stands twice",
        "p.yaml:9:20: chains: '1.0' is not a whole number: digits only, as in 1000",
        "p.yaml:9:25: chains: '0x1' is not a whole number: digits only, as in 1000",
        (
            "p.yaml:10:20: destinations: '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD' has a wrong EIP-55 checksum:"
            " a letter was changed, or the case of one"
        ),
        "p.yaml:10:66: destinations: 0x12 is not an EVM address: 0x and 40 hex digits",
        "p.yaml:11:13: amount: 1.5 has no unit: write 1.5 ether, or a whole number of wei",
        "p.yaml:12:10: fee: 0.0000000001 gwei is not a whole number of wei: gwei has 9 digits after the point",
        "p.yaml:14:5: id stands twice in a rule",
        "p.yaml:16:18: principals: 'maker' is not spiffe://<trust-domain>/<server|bot|admin|approver|auditor|node>/<name>",
        "p.yaml:17:12: amount has no value",
        (
            "p.yaml:18:5: a rule must be a table of id, verdict, quorum, shadow, keys, principals, kinds, operations,"
            " authorities, chains, venues, destinations, contracts, selectors, primary_types, type_hashes, symbols,"
            " sides, assets, above, amount, fee, usd_above, usd, price_band, validity, first_seen, look_alike, hours,"
            " when"
        ),
        "p.yaml:18:5: id is missing: add id: name-of-the-rule",
        "p.yaml:18:5: verdict is missing: add verdict: allow, deny or escalate",
        "p.yaml:20:5: keys is missing: add keys: [name], or keys: any",
        "p.yaml:21:13: window: 8d is not from 1s to 7d",
    )


def test_a_rule_that_can_never_match_says_what_to_add() -> None:
    """A transaction rule without its conditions is an error at its line, with the lines to add."""
    assert problems(
        """\
        version: 1
        rules:
          - id: pay
            verdict: allow
            keys: [eth-hot]
            kinds: [evm-transaction]
            operations: [transfer]
            amount: any
        """
    ) == (
        (
            "p.yaml:3:5: chains: without chains it never matches transfer: add chains: [1], or chains: any"
            " [absent-condition]"
        ),
        (
            "p.yaml:3:5: destinations: without destinations it never matches transfer:"
            ' add destinations: ["0x..."], or destinations: any [absent-condition]'
        ),
        ("p.yaml:3:5: fee: without fee it never matches transfer: add fee: 0.01 ether, or fee: any [absent-condition]"),
        (
            "p.yaml:3:5: principals: an allow rule without principals never matches:"
            " add principals: [spiffe://domain/bot/name], or any [absent-condition]"
        ),
    )


def test_a_duplicate_id_is_told_at_the_second() -> None:
    """Ids are unique over rules and limits; the message stands at the one that came later."""
    text = "version: 1\nrules:\n  - {id: a, verdict: deny}\nlimits:\n  - {id: a, keys: any, window: 1h, count: 1}\n"
    assert problems(text) == ("p.yaml:5:10: id: id a is taken: answers name it [id]",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "p.yaml:1:1: the file is empty: it should hold a policy"),
        ("# nothing\n", "p.yaml:1:1: the file is empty: it should hold a policy"),
        ("a: [", "p.yaml:1:5: not YAML: expected the node content, but found '<stream end>'"),
        ("a: 1\n\tb: 2", "p.yaml:2:1: not YAML: found character '\\t' that cannot start any token"),
        ("a\n b\x01", "p.yaml:2:3: the character U+0001 is not permitted"),
        ("[" * 40 + "]" * 40, "p.yaml:1:9: not YAML: nested deeper than any policy"),
        ("version: 1\n---\nversion: 2", "p.yaml:2:1: not YAML: but found another document"),
        ("version: &a 1", "p.yaml:1:10: anchors and aliases are not permitted: write it out"),
        ("version: !!int 1", "p.yaml:1:10: tags are not permitted: leave tag:yaml.org,2002:int out"),
        (
            "version: !python/object:os.system x",
            "p.yaml:1:10: tags are not permitted: leave !python/object:os.system out",
        ),
        ("version: 1\nrules: {}", "p.yaml:2:8: rules must be a list: start each with a dash"),
        ("#" * 262_145, "p.yaml:1:1: longer than 262144 bytes"),
    ],
)
def test_what_is_not_such_a_file_is_told_by_one_line(text: str, expected: str) -> None:
    """Broken YAML, odd characters, depth, size, anchors and tags are refused before anything is read."""
    assert problems(text) == (expected,)


def test_aliases_are_told_where_they_stand() -> None:
    """The anchor and each alias have their own line."""
    assert [line.split(": ")[0] for line in problems("version: 1\nrules: &x []\nlimits: *x\n")] == [
        "p.yaml:2:8",
        "p.yaml:3:9",
    ]


def test_nested_aliases_do_not_grow() -> None:
    """A billion laughs are refused without being expanded."""
    layers = "\n".join(
        f"{name}: &{name} [{', '.join(['*' + below] * 9)}]" for below, name in zip("abcdef", "bcdefg", strict=True)
    )
    assert len(problems(f"a: &a [x]\n{layers}\n")) == 7 + 6 * 9


@pytest.mark.parametrize(
    "field",
    [
        "operations: [pay]",
        "kinds: [evm]",
        "chains: [0]",
        "chains: [-1]",
        "chains: [1e3]",
        "chains: [1_000]",
        "chains: [010]",
        "chains: []",
        "chains: [[1]]",
        "chains: {1: 2}",
        "selectors: [transfer]",
        "primary_types: [a b]",
        "venues: [binanse]",
        "destinations: [a b]",
        "destinations: [0X5aaeb6053f3e94c9b9a09f33669435e7ef1beaed]",
        "keys: [ETH]",
        "amount: 1 ether",
        "<<: {keys: any}",
        "? [a]\n    : 1",
    ],
)
def test_a_wrong_value_is_an_error_at_its_line(field: str) -> None:
    """No value is guessed at, dropped or rounded."""
    found = problems(deny_rule(field))
    assert found
    assert all(line.startswith("p.yaml:5:") for line in found)


def test_problems_are_bounded() -> None:
    """A file that is wrong in thousands of places is told so in at most a hundred lines and one."""
    found = problems("version: 1\nrules:\n" + "  - {id: A, verdict: deny}\n" * 3_000)
    assert len(found) == limits.POLICY_PROBLEMS_MAX + 1
    assert found[-1] == "p.yaml: 2900 more problems"


def some(values: st.SearchStrategy[str]) -> st.SearchStrategy[frozenset[str] | Anything]:
    return st.one_of(st.just(ANY), st.frozensets(values, min_size=1, max_size=5))


names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(lambda name: name != "any")
addresses = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
venue_addresses = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40).filter(
    lambda text: text != "any" and text[:2].lower() != "0x"
)
caps = st.one_of(st.just(ANY), st.integers(0, AMOUNT_MAX))
scope = {"keys": some(names), "principals": some(names.map(lambda name: f"spiffe://demo/bot/{name}"))}
chains = st.one_of(st.just(ANY), st.frozensets(st.integers(1, AMOUNT_MAX), min_size=1, max_size=5))
calls = st.builds(
    Rule,
    id=names,
    verdict=st.just(Verdict.ALLOW),
    **scope,
    kinds=st.just(frozenset({PayloadKind.EVM_TRANSACTION})),
    operations=st.just(frozenset({Operation.CALL})),
    chains=chains,
    destinations=some(addresses),
    selectors=some(st.integers(0, 2**32 - 1).map(lambda number: f"0x{number:08x}")),
    amount_max=caps,
    fee_max=caps,
)
typed_data = st.builds(
    Rule,
    id=names,
    verdict=st.just(Verdict.ALLOW),
    **scope,
    kinds=st.just(frozenset({PayloadKind.TYPED_DATA})),
    chains=chains,
    destinations=some(addresses),
    primary_types=some(
        st.from_regex(r"[A-Za-z_$][A-Za-z0-9_$]{0,20}", fullmatch=True).filter(lambda name: name != "any")
    ),
)
withdrawals = st.builds(
    Rule,
    id=names,
    verdict=st.sampled_from(Verdict),
    **scope,
    kinds=st.just(frozenset({PayloadKind.BINANCE_REST})),
    operations=st.just(frozenset({Operation.WITHDRAW})),
    venues=some(st.just("binance")),
    destinations=some(st.one_of(addresses, venue_addresses)),
)
capped = st.builds(
    Limit,
    id=names,
    keys=some(names),
    window_ms=st.integers(limits.WINDOW_MS_MIN, limits.WINDOW_MS_MAX),
    count_max=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    amount_max=st.integers(0, AMOUNT_MAX),
    chain_id=st.integers(1, AMOUNT_MAX),
)


@given(
    version=st.integers(1, 2**32 - 1),
    rules=st.lists(st.one_of(calls, typed_data, withdrawals), max_size=4),
    limited=st.lists(capped, max_size=3),
)
def test_every_policy_comes_back_from_its_text(version: int, rules: list[Rule], limited: list[Limit]) -> None:
    """What `policy show` prints is read as the same policy, if lint finds nothing in it."""
    policy = Policy(version=version, rules=tuple(rules), limits=tuple(limited))
    if not lint(policy):
        assert parse_policy(format_policy(policy), name="shown") == policy


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_list_of_problems(text: str) -> None:
    """No text makes the reader fail in any other way."""
    try:
        parse_policy(text, name="p.yaml")
    except PolicyFileError as error:
        assert error.problems  # noqa: PT017  # both outcomes are right


@given(
    place=st.integers(0, len(EXAMPLE)), noise=st.text("[]{}:,&*!|>%@`#?- \n\t\"'x0", max_size=4), cut=st.integers(0, 9)
)
def test_a_damaged_file_is_a_policy_or_a_list_of_problems(place: int, noise: str, cut: int) -> None:
    """Neither does a file that was damaged somewhere."""
    try:
        parse_policy(EXAMPLE[:place] + noise + EXAMPLE[place + cut :], name="p.yaml")
    except PolicyFileError as error:
        assert error.problems  # noqa: PT017  # both outcomes are right
