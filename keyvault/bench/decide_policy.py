"""The policy under which decisions are timed: many keys, most rules about others, some about the one that signs.

A rule or limit more than the smallest policy has is about another key. ``crowded`` adds rules about the keys that sign,
each of which is compared and does not hold: what a decision really pays for.
"""

from collections.abc import Iterator
from typing import Final

from keyvault.bench.decide_payloads import (
    CASES,
    CHAIN,
    DYDX_CHAIN,
    PAYEES_MAX,
    PERMIT2,
    PERMIT_BATCH,
    SELECTOR,
    SPENDER,
    SPL_MINT,
    SYMBOLS,
    TOKENS,
    USDC,
    evm_payee,
    payees,
)
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_rules import Asset, Market, Per, Prices
from keyvault.intents import keccak256
from keyvault.intents.bitcoin_address import NETWORKS, address
from keyvault.intents.solana_address import address as solana_address

CROWD: Final = 100
"""Rules that a crowded policy has more about each key of CROWDED."""
PREDICATES: Final = {
    "erc20-transfer": 'amount < 1000000000 && destination.startsWith("0x")',
    "binance-order": 'side == "BUY" || usd_micros < 1000000000',
}
_MICRO = 10**6
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_CAPPED = 10_000 * _MICRO
_COUNT_MAX = 10**12
_MOVES = frozenset({Operation.TRANSFER, Operation.ALLOWANCE, Operation.WITHDRAW})
_TYPE_HASH = f"0x{keccak256(PERMIT_BATCH.encode('ascii')).hex()}"


def policy(rules: int, limits: int, *, as_of: int, crowded: bool = False) -> Policy:
    """Return a policy of so many rules and limits that permits every payload of ``decide_payloads``."""
    crowd = tuple(_crowd()) if crowded else ()
    others = limits - len(tuple(_own_limits()))
    common = (*_everybody(), *_own(), _others(others))
    return Policy(
        version=1,
        rules=(*crowd, *common, *(_other_rule(number) for number in range(rules - len(common)))),
        limits=(*_own_limits(), *map(_other_limit, range(others))),
        lists={"payees": _payees(), "blocked": frozenset(f"0x{number:040x}" for number in range(1, PAYEES_MAX + 1))},
        prices=_prices(as_of),
    )


def _payees() -> frozenset[str]:
    return frozenset(f"0x{evm_payee(number).hex()}" for number in range(PAYEES_MAX))


def _solana_payees() -> frozenset[str]:
    return frozenset(map(solana_address, payees()))


def _bitcoin_payees() -> frozenset[str]:
    scripts = (b"\x00\x14" + evm_payee(number) for number in range(PAYEES_MAX))
    return frozenset(text for text in (address(script, NETWORKS[b"mainnet"]) for script in scripts) if text)


def _everybody() -> Iterator[Rule]:
    yield Rule(id="look-alike", verdict=Verdict.DENY, operations=_MOVES, look_alike=True)
    yield Rule(id="blocked", verdict=Verdict.DENY, operations=_MOVES, destinations=frozenset({"@blocked"}))
    yield Rule(
        id="new-and-large",
        verdict=Verdict.ESCALATE,
        operations=_MOVES,
        first_seen_ms=_DAY_MS,
        usd_above=50_000 * _MICRO,
        quorum="2 of risk",
    )
    yield Rule(
        id="unlimited",
        verdict=Verdict.DENY,
        operations=frozenset({Operation.ALLOWANCE}),
        amount_above=10**30,
    )
    yield Rule(
        id="large-orders",
        verdict=Verdict.ESCALATE,
        operations=frozenset({Operation.ORDER}),
        venues=frozenset({"binance", "hyperliquid"}),
        usd_above=1_000_000 * _MICRO,
        quorum="1 of risk",
        shadow=True,
    )


def _allow(name: str, suffix: str = "", **conditions: object) -> Rule:
    case = CASES[name]
    return Rule(
        id=f"{name}{suffix}",
        verdict=Verdict.ALLOW,
        keys=frozenset({case.key}),
        principals=ANY,
        kinds=frozenset({case.kind}),
        when=PREDICATES.get(name, ""),
        **conditions,  # type: ignore[arg-type]  # names and types are those of the rules below
    )


def _own() -> Iterator[Rule]:
    yield from _own_transfers()
    yield from _own_orders()


def _own_transfers() -> Iterator[Rule]:
    transfer = frozenset({Operation.TRANSFER})
    yield _erc20_rule("-other", TOKENS[0])
    yield _erc20_rule("", USDC)
    yield _allow(
        "coin-transfer",
        operations=transfer,
        chains=frozenset({CHAIN}),
        destinations=frozenset({"@payees"}),
        amount_max=10**18,
        fee_max=10**17,
        usd_max=_CAPPED,
    )
    yield _allow(
        "permit2-batch-3",
        operations=frozenset({Operation.ALLOWANCE}),
        chains=frozenset({CHAIN}),
        contracts=frozenset({PERMIT2}),
        type_hashes=frozenset({_TYPE_HASH}),
        assets=frozenset(TOKENS),
        destinations=frozenset({SPENDER}),
        amount_max=10**9,
        fee_max=0,
        validity_ms_max=2 * _DAY_MS,
    )
    for suffix, asset in (("", "native"), ("-tokens", solana_address(SPL_MINT))):
        yield _allow(
            "solana-20",
            suffix,
            operations=transfer,
            chains=frozenset({"solana"}),
            assets=frozenset({asset}),
            destinations=_solana_payees(),
            amount_max=10**9,
            fee_max=10**8,
            usd_max=_CAPPED,
        )
    yield _allow(
        "psbt-1-in-2-out",
        operations=transfer,
        chains=frozenset({"bitcoin"}),
        destinations=_bitcoin_payees(),
        amount_max=10**8,
        fee_max=10**5,
        usd_max=_CAPPED,
    )


def _own_orders() -> Iterator[Rule]:
    order = frozenset({Operation.ORDER})
    yield _binance_rule("", frozenset(SYMBOLS))
    yield _allow(
        "dydx-order",
        operations=order,
        venues=frozenset({"dydx"}),
        chains=frozenset({f"cosmos:{DYDX_CHAIN}"}),
        symbols=frozenset({"clob-pair:0"}),
        amount_max=10**9,
    )
    yield _allow(
        "hyperliquid-order",
        operations=order,
        venues=frozenset({"hyperliquid"}),
        chains=frozenset({"hyperliquid:mainnet"}),
        symbols=frozenset(f"perp:{number}" for number in range(5)),
        price_band_bps=500,
        usd_max=_CAPPED,
    )


CROWDED: Final = ("erc20-transfer", "binance-order")


def _crowd() -> Iterator[Rule]:
    """Yield rules for the keys of two cases, one for each of many tokens and markets, none of which holds."""
    for number in range(CROWD):
        yield _erc20_rule(f"-{number:03}", f"0x{0xC0 + number:040x}")
        yield _binance_rule(f"-{number:03}", frozenset({f"COIN{number}USDT"}))


def _erc20_rule(suffix: str, asset: str) -> Rule:
    return _allow(
        "erc20-transfer",
        suffix,
        operations=frozenset({Operation.TRANSFER}),
        chains=frozenset({CHAIN}),
        assets=frozenset({asset}),
        destinations=frozenset({"@payees"}),
        selectors=frozenset({SELECTOR}),
        amount_max=10**9,
        fee_max=10**17,
        usd_max=_CAPPED,
    )


def _binance_rule(suffix: str, symbols: frozenset[str]) -> Rule:
    return _allow(
        "binance-order",
        suffix,
        operations=frozenset({Operation.ORDER}),
        venues=frozenset({"binance"}),
        symbols=symbols,
        sides=frozenset({"BUY", "SELL"}),
        price_band_bps=500,
        usd_max=_CAPPED,
        validity_ms_max=60_000,
    )


_KINDS = (PayloadKind.EVM_TRANSACTION, PayloadKind.BINANCE_REST, PayloadKind.TYPED_DATA, PayloadKind.SOLANA_MESSAGE)


def _other_rule(number: int) -> Rule:
    """Return a rule about a key that does not sign; three of four are about kinds that do."""
    kind = _KINDS[number % len(_KINDS)]
    orders = kind is PayloadKind.BINANCE_REST
    denied = number % 10 == 0
    return Rule(
        id=f"other-{number:03}",
        verdict=Verdict.DENY if denied else Verdict.ALLOW,
        keys=frozenset({f"other-{number:03}"}),
        principals=ANY,
        kinds=frozenset({kind}),
        operations=frozenset({Operation.ORDER if orders else Operation.TRANSFER}),
        chains=None if orders else frozenset({"solana" if kind is PayloadKind.SOLANA_MESSAGE else CHAIN}),
        venues=frozenset({"binance"}) if orders else None,
        symbols=frozenset(SYMBOLS) if orders else None,
        assets=None if orders else ANY,
        contracts=frozenset({USDC}) if kind is PayloadKind.TYPED_DATA else None,
        type_hashes=frozenset({f"0x{number:064x}"}) if kind is PayloadKind.TYPED_DATA else None,
        destinations=None if orders else frozenset({"@payees"}),
        amount_max=None if orders or denied else ANY,
        fee_max=None if orders or denied else 10**17,
        usd_max=None if denied else 1_000 * _MICRO,
    )


def _others(count: int) -> Rule:
    """Return a rule that lets the keys that the other limits are about do what these count."""
    return Rule(
        id="others",
        verdict=Verdict.ALLOW,
        keys=frozenset(f"other-{number:03}" for number in range(count)),
        principals=ANY,
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        operations=frozenset({Operation.TRANSFER}),
        chains=frozenset({CHAIN}),
        destinations=frozenset({"@payees"}),
        amount_max=10**18,
        fee_max=10**17,
    )


_UNPRICED: Final = frozenset({"dydx-order"})
"""Its amounts are in units that only the venue knows."""


def _own_limits() -> Iterator[Limit]:
    yield Limit(id="per-minute", keys=ANY, window_ms=60_000, count_max=_COUNT_MAX)
    yield Limit(id="per-day", keys=ANY, window_ms=_DAY_MS, count_max=_COUNT_MAX)
    priced = frozenset(case.key for name, case in CASES.items() if name not in _UNPRICED)
    yield Limit(id="usd-per-day", keys=priced, window_ms=_DAY_MS, usd_max=10**18, per=Per.PRINCIPAL)
    for name in CASES:
        keys = frozenset({CASES[name].key})
        yield Limit(id=f"{name}-hour", keys=keys, window_ms=_HOUR_MS, count_max=_COUNT_MAX)
        if CASES[name].kind is PayloadKind.EVM_TRANSACTION:
            yield Limit(id=f"{name}-wei", keys=keys, window_ms=_DAY_MS, amount_max=10**36, chain_id=CHAIN)


def _other_limit(number: int) -> Limit:
    keys = frozenset({f"other-{number:03}"})
    if number % 2:
        return Limit(id=f"other-count-{number:03}", keys=keys, window_ms=_HOUR_MS, count_max=1_000)
    return Limit(id=f"other-wei-{number:03}", keys=keys, window_ms=_DAY_MS, amount_max=10**20, chain_id=CHAIN)


def _prices(as_of: int) -> Prices:
    """Return a table in which every market trades at 100, near the prices of the orders."""
    dollar, coin = 10**6, 100 * 10**6
    assets = (
        Asset(
            name="usd", usd=dollar, decimals=6, places=frozenset({(CHAIN, USDC), ("solana", solana_address(SPL_MINT))})
        ),
        Asset(name="eth", usd=coin, decimals=18, places=frozenset({(CHAIN, "native")})),
        Asset(name="sol", usd=coin, decimals=9, places=frozenset({("solana", "native")})),
        Asset(name="btc", usd=coin, decimals=8, places=frozenset({("bitcoin", "native")})),
        *(
            Asset(name=f"token-{number}", usd=dollar, decimals=18, places=frozenset({(CHAIN, token)}))
            for number, token in enumerate(TOKENS)
        ),
    )
    markets = (
        *(Market(venue="binance", symbol=symbol, base="eth", quote="usd") for symbol in SYMBOLS),
        *(Market(venue="hyperliquid", symbol=f"perp:{number}", base="eth", quote="usd") for number in range(5)),
        *(Market(venue="okx", symbol=f"COIN{number}-USDT", base="eth", quote="usd") for number in range(300)),
    )
    return Prices(assets=assets, markets=markets, as_of=as_of, age_ms_max=7 * _DAY_MS)
