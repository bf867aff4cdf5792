"""All that a policy can say, as a file and as bytes: one form each, and the same policy back."""

from dataclasses import replace

from hypothesis import given

from keyvault.cli.policy_file import format_policy, parse_policy
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict
from keyvault.core.policy_lint import lint
from keyvault.ledger.codec_policy import decode_policy, encode_policy
from tests.core.whole_policies import whole_policies
from tests.ledger.golden_documents import WHOLE_POLICY

FILE = """\
version: 2
lists:
  treasury: ["0xabababababababababababababababababababab", bc1qhome]
tags:
  desk: [btc-1, eth-mm-1]
prices:
  as_of: 2026-09-21T14:13:20Z
  max_age: 7d
  assets:
    - name: "ETH"
      usd: 3000
      decimals: 18
      at: [1/native, bybit/ETH]
    - {name: USDT, usd: 1.00, decimals: 6, at: [bybit/USDT, "solana/Es9v"]}
  markets:
    - {venue: bybit, symbol: ETHUSDT, base: ETH, quote: USDT}
rules:
  - id: trade
    verdict: allow
    keys: [bybit-1]
    principals: any
    kinds: [bybit-rest]
    authorities: [order]
    venues: [bybit]
    symbols: [ETHUSDT]
    sides: [SELL, BUY]
    usd: 1,000
    price_band: 1.5%
    validity: 1m
    hours: ["mon-wed 08:00-18:00", "thu 08:00-18:00", "fri 08:00-18:00"]
    when: "usd_micros < 500000000 || side == 'SELL'"
  - id: swap
    verdict: allow
    shadow: true
    keys: any
    principals: any
    kinds: [typed-data]
    operations: [allowance]
    chains: [1, "cosmos:dydx-mainnet-1"]
    destinations: ["@treasury"]
    assets: [native, "0x7070707070707070707070707070707070707070"]
    contracts: ["0x7070707070707070707070707070707070707070"]
    type_hashes: ["0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
    amount: 1 ether
    validity: 1h
    price_band: any
  - {id: new, verdict: escalate, quorum: 1 of risk, first_seen: 24h, usd_above: 1000}
  - {id: alike, verdict: deny, look_alike: true}
  - {id: blind, verdict: allow, keys: [btc-1], principals: any, kinds: [raw-digest], operations: [opaque]}
limits:
  - id: desk-dollars
    keys: any
    window: 1h
    usd: $5,000,000
    per: tag
    tags: [desk]
    principals: ["spiffe://firm.example/bot/maker-1"]
    operations: [order, withdraw]
    chains: [1, solana]
    venues: [bybit]
    destinations: ["@treasury"]
  - {id: satoshi, keys: any, window: 1s, amount: 100000000, chain: bitcoin, per: all}
  - {id: coins, keys: any, window: 1s, amount: 1, venue: bybit, asset: USDT, per: destination}
"""


def test_a_file_says_all_that_a_policy_can() -> None:
    """Every field, in the words of people: classes of authority, dollars with commas, days one by one."""
    blind = Rule(
        id="blind",
        verdict=Verdict.ALLOW,
        keys=frozenset({"btc-1"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
    )  # what can be anything is counted by every limit
    whole = replace(WHOLE_POLICY, rules=(*WHOLE_POLICY.rules, blind))
    assert parse_policy(FILE, name="p.yaml") == whole
    assert parse_policy(format_policy(whole), name="shown") == whole


@given(whole_policies())
def test_every_policy_that_may_be_published_comes_back_from_its_file(policy: Policy) -> None:
    """What `policy show` prints is read as the same policy, and printed again as the same file."""
    if lint(policy):
        return
    text = format_policy(policy)
    assert parse_policy(text, name="shown") == policy
    assert format_policy(parse_policy(text, name="shown")) == text


@given(whole_policies())
def test_every_policy_comes_back_from_its_document(policy: Policy) -> None:
    """With findings or without: the bytes are read as the same policy, and the policy gives the same bytes."""
    document = encode_policy(policy)
    assert decode_policy(document) == policy
    assert encode_policy(decode_policy(document)) == document


@given(whole_policies())
def test_every_file_is_text_that_people_can_read(policy: Policy) -> None:
    """Printable, whatever its names; nothing in it disturbs a terminal."""
    assert all(line.isprintable() and line.isascii() for line in format_policy(policy).splitlines())
