"""Single values of a policy in their one form, or Malformed with what would be right."""

import re

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy_kinds import NETWORK_VENUES, VENUES
from keyvault.core.policy_rules import Chain, normal_destination

AMOUNT_MAX = 2**256 - 1
"""Highest native amount that an EVM can hold."""
USD_MAX = 10**24 - 1
"""Highest amount of dollars in a policy, in 10**-6."""
BAND_MAX = 999_999
"""Widest band around a price, in 1/100 of a per cent."""

_SELECTOR = re.compile(r"0x([0-9a-f]{2}){1,4}", re.ASCII)
ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.ASCII)
_PRINTABLE = re.compile(rf"[!-~]{{1,{limits.POLICY_VALUE_CHARS_MAX}}}", re.ASCII)
_SHORT_HEX = re.compile(r"0[xX][0-9A-Fa-f]{0,39}", re.ASCII)
_TYPE_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_NETWORK = re.compile(
    r"bitcoin(-testnet|-regtest)?|solana|cosmos:[A-Za-z0-9-]{1,64}|hyperliquid:(main|test)net"
    rf"|({'|'.join(sorted(NETWORK_VENUES))}):(?:[A-Za-z0-9._~-]|%[0-9A-F]{{2}}){{1,120}}",
    re.ASCII,
)
_PRIMARY_TYPE = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,127}", re.ASCII)


def check_destination(text: str) -> str:
    """Return an address in normal form (EVM: lower case; venue: as it is), or raise Malformed."""
    if not _PRINTABLE.fullmatch(text):
        most = limits.POLICY_VALUE_CHARS_MAX
        raise Malformed("destinations", f"{text[:80]!r} is not an address: 1 to {most} characters without spaces")
    if _SHORT_HEX.fullmatch(text):
        raise Malformed("destinations", f"{text} is not an EVM address: 0x and 40 hex digits")
    return normal_destination(text)


def check_selector(text: str) -> str:
    """Return a function selector in lower case, or raise Malformed."""
    if not _SELECTOR.fullmatch(text.lower()):
        raise Malformed("selectors", f"{text[:80]!r} is not a function selector: 0x and 8 hex digits")
    return text.lower()


def check_primary_type(text: str) -> str:
    """Return the name of an EIP-712 type, or raise Malformed."""
    if not _PRIMARY_TYPE.fullmatch(text):
        raise Malformed("primary_types", f"{text[:80]!r} is not the name of an EIP-712 type")
    return text


def check_type_hash(text: str) -> str:
    """Return an EIP-712 type hash in lower case, or raise Malformed."""
    if not _TYPE_HASH.fullmatch(text.lower()):
        raise Malformed("type_hashes", f"{text[:80]!r} is not an EIP-712 type hash: 0x and 64 hex digits")
    return text.lower()


def check_side(text: str) -> str:
    """Return BUY or SELL, or raise Malformed."""
    if text not in ("BUY", "SELL"):
        raise Malformed("sides", f"{text[:80]!r} is not a side: BUY or SELL")
    return text


def check_name(text: str) -> str:
    """Return a symbol as venues write it, or raise Malformed."""
    if not _PRINTABLE.fullmatch(text):
        raise Malformed("symbols", f"{text[:80]!r} is not the name of a market: printable, without spaces")
    return text


def check_chain(chain: Chain) -> Chain:
    """Return an EIP-155 chain id, or the name of another network; or raise Malformed."""
    if isinstance(chain, str):
        if not _NETWORK.fullmatch(chain):
            known = "bitcoin, solana, cosmos:dydx-mainnet-1, hyperliquid:mainnet, binance:ETH"
            raise Malformed("chains", f"{chain[:80]!r} is no network: {known}")
    elif not 1 <= chain <= AMOUNT_MAX:
        raise Malformed("chains", "a chain id is a whole number from 1 to 2^256-1")
    return chain


def check_venue(text: str) -> str:
    """Return the venue, or raise Malformed."""
    if text not in VENUES:
        raise Malformed("venues", f"{text[:80]!r} is not a known venue: {', '.join(sorted(VENUES))}")
    return text
