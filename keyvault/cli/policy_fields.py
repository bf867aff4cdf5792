"""``keyvault policy fields``: what a policy file can say. Names, operations, kinds and units are the program's own.

Only the sentences are written here; a test reads every example by the parser of policy files.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import click

from keyvault.cli.output import JsonValue, emit, json_option, table
from keyvault.cli.policy_file import LIMIT_FIELDS, POLICY_FIELDS, RULE_FIELDS
from keyvault.cli.policy_prices_file import ASSET_FIELDS, MARKET_FIELDS, PRICES_FIELDS
from keyvault.cli.policy_units import AMOUNT_UNITS, SPAN_UNITS
from keyvault.core.intent import AUTHORITY, Authority, Operation, PayloadKind
from keyvault.core.policy_cel import VARIABLES
from keyvault.core.policy_findings import FIELD_WORDS, Lint
from keyvault.core.policy_kinds import KIND_OPERATIONS, NETWORK_VENUES, VENUES, asked
from keyvault.core.policy_rules import PLAIN_OPERATIONS, Per

Said = Mapping[str, tuple[str, str]]
"""An example, and what it means, by field."""

OF_POLICY: Final[Said] = {
    "version": ("1", "one more than the policy in force has"),
    "lists": ('{cold: ["bc1q..."]}', "destinations by name; rules and limits say @cold"),
    "tags": ("{desk: [eth-mm-1]}", "keys by name, for limits that they share"),
    "prices": ("", "what things are worth, below"),
    "rules": ("", "who may do what, below; they have no order"),
    "limits": ("", "how much in which time, below"),
}
OF_RULE: Final[Said] = {
    "id": ("treasury-pays", "its name, in answers and in the ledger"),
    "verdict": ("allow", "allow; deny, which wins; or escalate: members are asked"),
    "quorum": ("2 of risk and (1 of treasury or 3 of owners)", "escalate only: who must agree"),
    "shadow": ("true", "it decides nothing; that it matched is recorded"),
    "keys": ("[eth-mm-1]", "which keys sign; or any"),
    "principals": ('["spiffe://keyvault.local/bot/maker"]', "who asks; or any"),
    "kinds": ("[evm-transaction]", "which payloads, below"),
    "operations": ("[transfer]", "what the payload does, below"),
    "authorities": ("[transfer]", "all operations of these classes, below"),
    "chains": (
        '[1, solana, "binance:ETH"]',
        "EIP-155 chain id, network, or a venue's name of one; or any",
    ),
    "venues": ("[binance]", "at which venue; or any"),
    "destinations": ('["0x52908400098527886e0f7030069857d2e4169ee7", "@cold"]', "who gets it; or any. Tags behind ?"),
    "contracts": ('["0x52908400098527886e0f7030069857d2e4169ee7"]', "which contract is called, or verifies; or any"),
    "selectors": ('["0xa9059cbb"]', "which function of a contract; or any"),
    "primary_types": ("[Order]", "which EIP-712 type by name; or any"),
    "type_hashes": (f'["0x{"ab" * 32}"]', "which EIP-712 type, with all its fields; or any"),
    "symbols": ("[BTCUSDT]", "which market, by the venue's one name (protos/README.md); or any"),
    "sides": ("[BUY]", "BUY, SELL; or any"),
    "assets": ("[native, USDC]", "contract, mint, code at the venue, or native; or any. Left out in allow: native"),
    "above": ("10 ether", "deny, escalate: an amount above this"),
    "amount": ("1.5 ether", "allow: at most this much, of one asset; or any"),
    "fee": ("0.01 ether", "allow: the fee is at most this; or any"),
    "usd_above": ("50000", "deny, escalate: worth more than this"),
    "usd": ("500000", "allow: worth at most this, by prices; or any"),
    "price_band": ("1.5%", "allow: a limit price at most so far from prices; or any"),
    "validity": ("1h", "allow: the signature is worth something at most so long; or any"),
    "first_seen": ("24h", "deny, escalate: the destination was signed for first less than this ago, or never"),
    "look_alike": ("true", "deny, escalate: the destination resembles a known one, and is another"),
    "hours": ('["mon-fri 08:00-18:00"]', "allow: at these times of the week, UTC"),
    "when": ('"amount > 5"', "a predicate in CEL that must hold as well; its facts below"),
}
OF_LIMIT: Final[Said] = {
    "id": ("a-day", "its name, in answers and in the ledger"),
    "keys": ("[eth-mm-1]", "whose signatures count; or any"),
    "per": ("key", "what is counted apart, below; key if it is left out"),
    "principals": ('["spiffe://keyvault.local/bot/maker"]', "whose requests count; all if it is left out"),
    "operations": ("[transfer]", "which operations count; all if it is left out"),
    "authorities": ("[transfer]", "all operations of these classes count"),
    "chains": ("[1]", "where; everywhere if it is left out"),
    "venues": ("[binance]", "where; everywhere if it is left out"),
    "destinations": ('["@cold"]', "to whom; to all if it is left out"),
    "tags": ("[desk]", "keys that have one of these tags"),
    "window": ("24h", "at any time, what was signed so long before counts"),
    "count": ("100", "at most so many signatures"),
    "usd": ("1000000", "at most worth this; what has no price has no room"),
    "amount": (
        "5 ether",
        "at most this much of one asset, in its smallest units; at venues 10^-18, as ether are",
    ),
    "chain": ("1", "where the amount is, and of what: with asset, or of the chain's own coin and fees"),
    "venue": ("binance", "where the amount is, instead of chain; with asset"),
    "asset": ("USDC", "of what the amount is"),
}
OF_PRICES: Final[Said] = {
    "as_of": ("2026-11-26T12:00:00Z", "since when they are right, UTC"),
    "max_age": ("7d", "afterwards nothing has a price"),
    "assets": ("", "name, usd of a whole unit of 10^decimals, decimals, at: where payloads call it what"),
    "markets": ("", "venue, symbol, base and quote by name; unit (1000 DOGE) where it counts contracts"),
}
OF_PER: Final[Mapping[Per, str]] = {
    Per.KEY: "each key",
    Per.PRINCIPAL: "each caller",
    Per.VENUE: "each venue; what is at none does not count",
    Per.DESTINATION: "each account that is paid; orders do not count",
    Per.ASSET: "each asset at each place",
    Per.TAG: "each tag: its keys share a window",
    Per.ALL: "everything together",
}


@click.command()
@json_option
def fields() -> None:
    """Print what a policy file can say: fields, units, kinds, operations and what a rule must say to allow each.

    \b
    Example:
      keyvault policy fields
    """  # noqa: D301  \b tells click to keep the lines
    emit(_document(), _text)


def must_say(operation: Operation) -> dict[tuple[str, ...], list[PayloadKind]]:
    """Return, by what an allow rule must say about the operation, in which kinds of payload."""
    found: dict[tuple[str, ...], list[PayloadKind]] = {}
    for kind in PayloadKind:
        if operation in KIND_OPERATIONS[kind]:
            needed = tuple(field for field in RULE_FIELDS if field in _in_file(asked(kind, operation)))
            found.setdefault(needed, []).append(kind)
    return found


def _in_file(names: Iterable[str]) -> frozenset[str]:
    return frozenset(FIELD_WORDS.get(name, name) for name in names)


def _document() -> dict[str, JsonValue]:
    return {
        "policy": _said(OF_POLICY, POLICY_FIELDS),
        "rule": _said(OF_RULE, RULE_FIELDS),
        "limit": _said(OF_LIMIT, LIMIT_FIELDS),
        "prices": _said(OF_PRICES, PRICES_FIELDS),
        "asset": list(ASSET_FIELDS),
        "market": list(MARKET_FIELDS),
        "per": {each.value: OF_PER[each] for each in Per},
        "units": {"amount": dict(AMOUNT_UNITS), "time_ms": dict(SPAN_UNITS)},
        "venues": sorted(VENUES),
        "kinds": {kind.value: sorted(KIND_OPERATIONS[kind]) for kind in PayloadKind},
        "authorities": {each.value: sorted(op for op, of in AUTHORITY.items() if of is each) for each in Authority},
        "operations": {
            operation.value: [
                {"must_say": list(needed), "kinds": [kind.value for kind in kinds]}
                for needed, kinds in must_say(operation).items()
            ]
            for operation in Operation
        },
        "when": list(VARIABLES),
        "findings": [lint.value for lint in Lint],
    }


def _said(what: Said, names: tuple[str, ...]) -> dict[str, JsonValue]:
    return {name: {"example": what[name][0], "means": what[name][1]} for name in names}


def _text() -> str:
    parts = [
        _part("A policy file has", OF_POLICY, POLICY_FIELDS),
        _part("A rule has", OF_RULE, RULE_FIELDS),
        _allowing(),
        table(("operation", "authority", "must say", "in"), list(_operations())),
        _part("A limit has", OF_LIMIT, LIMIT_FIELDS),
        table(("per", "counts apart"), [(each.value, OF_PER[each]) for each in Per]),
        _part("Prices have", OF_PRICES, PRICES_FIELDS),
        f"An asset has {', '.join(ASSET_FIELDS)}; a market {', '.join(MARKET_FIELDS)}.",
        _units(),
        f"Venues: {', '.join(sorted(VENUES))}.",
        f"Networks of withdrawals, as binance:ETH: {', '.join(sorted(NETWORK_VENUES))}.",
        f"Facts of when: {', '.join(VARIABLES)}.",
        _VIA,
        table(("kind", "can be"), [(kind.value, ", ".join(sorted(KIND_OPERATIONS[kind]))) for kind in PayloadKind]),
    ]
    return "\n\n".join(parts)


_VIA: Final = (
    "via says what an effect stands in, outermost first, and what else is known of it: the calls around it"
    ' ("safe 0x... > multisend"), the category or mode of an order ("linear", "cross"), a leverage, and last what an'
    ' order waits for ("spot > trigger 90000"). An amendment says a trigger only if it changes it. Empty if there is'
    " nothing. Ask via.startsWith() or via.contains(): the whole of it changes with each part."
)


def _allowing() -> str:
    return (
        "An allow rule must say keys, principals and kinds. Of a field that it does not say it allows nothing; any"
        f" allows all, on purpose. Without operations it is about {', '.join(sorted(PLAIN_OPERATIONS))}. Tokens, and"
        " what leaves a venue, need assets. To allow an operation, a rule must say:"
    )


def _units() -> str:
    return (
        f"Amounts: whole numbers of the smallest unit, or {', '.join(AMOUNT_UNITS)} (10^18, 10^9, 1), whatever the"
        f" asset. Lengths of time: {', '.join(SPAN_UNITS)}. Dollars: six decimals at most."
    )


def _part(title: str, what: Said, names: tuple[str, ...]) -> str:
    return f"{title}:\n{table(('field', 'example', 'means'), [(name, *what[name]) for name in names])}"


def _operations() -> Iterable[tuple[str, str, str, str]]:
    for operation in sorted(Operation):
        for needed, kinds in must_say(operation).items():
            yield operation.value, AUTHORITY[operation].value, ", ".join(needed) or "nothing more", ", ".join(kinds)
