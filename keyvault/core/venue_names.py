"""One name for each asset and market of a venue: what rules, limits and prices are compared with.

1. Binance, Bybit, OKX and Deribit name theirs in capitals (Deribit's ``d`` between digits is a decimal point:
   ``XRP_USDC-30JUN25-0d5-C``); Binance's range is ``^[A-Z0-9-_.]{1,20}$``, Bybit's documents say "uppercase only". A
   request in small letters is refused: nobody promises that the venue refuses it, too.
2. Kraken takes several names for one thing, so they are folded: capitals, and its ``altname``, which is in the
   public Assets and AssetPairs. Assets that Kraken listed first have an X (coins) or a Z (money) before theirs: XXBT is
   XBT, ZUSD is USD. BTC and DOGE, its newer names, are XBT and XDG; a pair's ``wsname`` has a slash: XBT/USD is XBTUSD.
   What is behind a point (XBT.M, DOT.S) is another balance, and stays.
3. An altname is no other asset's code, so two things never get one name. What no document of Kraken's has (ADAZUSD) is
   not folded, and a rule that names ADAUSD is not about it.
4. What restricts is about a thing by whatever name the rule has for it (``symbols_of``); so a rule that was written
   before names were folded still restricts. What permits is about the one name only.

Sources: support.kraken.com/articles/360000920306-api-symbols-and-tickers (Assets with altname; "BTC" for "XBT" since
April 2021: 360001206766-bitcoin-currency-code-xbt-vs-btc), AssetPairs with altname and wsname; Binance's error -1100.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

KRAKEN: Final = "kraken"

_COINS = "ETC ETH ICN LTC MLN NMC REP XBT XDG XLM XMR XRP XVN ZEC"
_MONEY = "AUD CAD EUR GBP JPY KRW USD"
NEWER_NAMES: Final[Mapping[str, str]] = MappingProxyType({"BTC": "XBT", "DOGE": "XDG"})
"""Names that Kraken took over from others, and its altnames."""
_ALTNAMES: Final[Mapping[str, str]] = MappingProxyType(
    {f"X{each}": each for each in _COINS.split()} | {f"Z{each}": each for each in _MONEY.split()} | dict(NEWER_NAMES)
)
_FIRST_NAMES: Final = _ALTNAMES.keys() - NEWER_NAMES.keys()
_NAMES: Final = "|".join(sorted({*_ALTNAMES, *_ALTNAMES.values(), "USDT", "USDC"}, key=len, reverse=True))
_PAIR_OF_FIRST = re.compile(rf"({_NAMES})({_NAMES})", re.ASCII)
"""A pair of what Kraken listed first (or a dollar token): only there can an X or a Z be one that is before an altname.
XTZUSD is none."""
_POINT_OF_DERIBIT = re.compile(r"(?<=[0-9])d(?=[0-9])", re.ASCII)


def asset_at(venue: str, code: str) -> str:
    """Return the one name of an asset at a venue; as it is where nobody knows better."""
    return _ASSETS.get(venue, str)(code)


def symbol_at(venue: str, symbol: str) -> str:
    """Return the one name of a market at a venue; as it is where nobody knows better."""
    return _SYMBOLS.get(venue, str)(symbol)


def symbols_of(symbol: str, venues: Iterable[str]) -> frozenset[str]:
    """Return the market's name as it is, and its one name at each of the venues: what restricts is about all."""
    return frozenset({symbol, *(symbol_at(venue, symbol) for venue in venues)})


def assets_of(code: str, venues: Iterable[str]) -> frozenset[str]:
    """Return the asset's name as it is, and its one name at each of the venues."""
    return frozenset({code, *(asset_at(venue, code) for venue in venues)})


def part_at_kraken(text: str, function: str) -> str:
    """Return what stands in Kraken's one name where the other names have this; the same if nothing else does.

    ``function``: whether the text is the beginning, the end, a part or a pattern of a name (as in ``when``), or all of
    it (empty).
    """
    if not function:
        folded = {_kraken_asset(text), _kraken_pair(text)} - {text.upper()}
        return min(folded, default=text)
    whole = text if function == "matches" else _ALTNAMES.get(text, text)
    for newer, altname in NEWER_NAMES.items():
        is_cut = {"startsWith": newer.startswith, "endsWith": newer.endswith, "contains": newer.__contains__}
        if text and function in is_cut and is_cut[function](text):
            return altname
        if function == "matches" and newer in text and altname not in text:
            return altname
        whole = whole if function == "matches" else whole.replace(newer, altname)
    return whole


def is_kraken_s_alone(text: str) -> bool:
    """Return whether this is a name that only Kraken has, and not the one that is compared (XXBT, XXBTZUSD)."""
    pair = _PAIR_OF_FIRST.fullmatch(text)
    return any(each in _FIRST_NAMES for each in (pair.groups() if pair else (text,)))


def _capitals_with_points(text: str) -> str:
    return "d".join(map(str.upper, _POINT_OF_DERIBIT.split(text)))


def _kraken_asset(code: str) -> str:
    head, point, balance = code.upper().partition(".")
    return _ALTNAMES.get(head, head) + point + balance


def _kraken_pair(pair: str) -> str:
    base, slash, quote = pair.upper().partition("/")
    if slash:
        return _kraken_asset(base) + _kraken_asset(quote)
    named = _PAIR_OF_FIRST.fullmatch(base)
    return "".join(map(_kraken_asset, named.groups())) if named else _with_altnames(base)


def _with_altnames(pair: str) -> str:
    """Return the pair with XBT and XDG for the newer names of its base and of its quote."""
    for newer, altname in NEWER_NAMES.items():
        if pair.startswith(newer):
            pair = altname + pair.removeprefix(newer)
        if pair.endswith(newer):
            pair = pair.removesuffix(newer) + altname
    return pair


_SYMBOLS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "binance": str.upper,
        "bybit": str.upper,
        "okx": str.upper,
        "deribit": _capitals_with_points,
        KRAKEN: _kraken_pair,
    }
)
_ASSETS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType({**_SYMBOLS, KRAKEN: _kraken_asset})
NAMING_VENUES: Final = frozenset(_SYMBOLS)
"""Venues of whose names more is known than that they are names."""
