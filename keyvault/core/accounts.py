"""One spelling for each account, so that what restricts cannot be passed by another spelling of the same one.

Folded are spellings that say the same bytes, and of which that is documented:

1. A tag or memo behind ``?`` is no part of the account; nor is what OKX takes behind an address and a colon (``toAddr``
   "address:tag": okx.com/docs-v5, Withdrawal).
2. EVM addresses: lower case (ERC-55 is a checksum in capitals), and with 0x where a venue takes them without.
3. Longer hexadecimal addresses (Starknet, Sui, Aptos): 0x, lower case, and zeros in front up to 32 bytes. "Leading
   zeroes can be omitted on input": docs.sui.io, SuiAddress; likewise AIP-40 for Aptos, and felts of Starknet.
4. bech32 in lower case: capitals are allowed, not both (BIP 173).
5. cashaddr without its prefix, which "may be omitted", in lower case; capitals are allowed, not both
   (bitcoincashorg/spec/cashaddr.md; eCash uses it with a prefix of its own).
6. TON: raw (``0:`` and 64 digits), and in 36 bytes of base64, with a CRC-16, that say besides how to bounce and whether
   for test networks (``EQ...``, ``UQ...``, ``kQ...``, ``0Q...``). All are ``EQ...``, in the alphabet for URLs:
   look-alikes are looked for in what people see (TEP-2, docs.ton.org/foundations/addresses/formats).

Not folded, so that a list of them restricts less than it seems to: XRP's ``r...`` and ``X...`` (which has the tag in
it), Bitcoin Cash's ``1...`` beside cashaddr and its token-aware addresses, Tron's hexadecimal, XDC's ``xdc``, names
(ENS) and whatever else a venue takes. Who may be paid is only sure where rules list who is.
"""

import base64
import re
from binascii import Error, crc_hqx
from typing import Final

EVM_CHARS: Final = 42
"""Of an EVM address, with 0x."""
HEX_PREFIXES: Final = frozenset({"0x", "0X"})

_BARE_EVM_CHARS: Final = 40
_BARE_LONG: Final = range(50, 65)
"""Hexadecimal addresses of up to 32 bytes without 0x, and without some zeros in front."""
_LONG_DIGITS: Final = 64
_HEX = re.compile(r"[0-9A-Fa-f]+", re.ASCII)
_CAPITALS = re.compile(r"(?:[A-Z]{2,20}1[AC-HJ-NP-Z02-9]{6,100}|[QP][AC-HJ-NP-Z02-9]{41})", re.ASCII)
"""bech32, and cashaddr without its prefix."""
CASH_PREFIXES: Final = ("bitcoincash", "bchtest", "bchreg", "ecash", "ectest")
"""Before the colon of a cashaddr."""
_CASH = re.compile(rf"(?:{'|'.join(CASH_PREFIXES)}):[qp][0-9a-z]{{41,}}", re.ASCII | re.IGNORECASE)
_TON_RAW = re.compile(r"(?:0|-1):[0-9A-Fa-f]{64}", re.ASCII)
_TON_CHARS: Final = 48
_BOUNCES: Final = b"\x11"
_TO_BASE64: Final = str.maketrans("-_", "+/")
_TAGGED_CHARS: Final = 25
"""Fewer are no address, but a word or a prefix before the colon."""
_TON_BEGINS: Final = frozenset({"EQ", "UQ", "kQ", "0Q", "Ef", "Uf", "kf", "0f"})
"""How base64 begins of a tag (0x11, 0x51; 0x80 more on test networks) and a workchain (0, -1)."""


def account_of(destination: str) -> str:
    """Return the account of a destination in its one spelling; as it stands where no other is known.

    What restricts goes by the account. Quick for what is common: this is asked in every decision.
    """
    account = destination.partition("?")[0] if "?" in destination else destination
    if ":" in account:
        return _of_parts(account)
    chars = len(account)
    if account[:2] in HEX_PREFIXES:
        return account.lower() if chars <= EVM_CHARS else _with_zeros(account[2:]) or account.lower()
    if chars < _BARE_EVM_CHARS:
        return account
    if chars == _BARE_EVM_CHARS:
        return f"0x{account.lower()}" if _HEX.fullmatch(account) else account
    if chars >= _TON_CHARS and (found := _of_long(account, chars)):
        return found
    return account.lower() if _CAPITALS.fullmatch(account) else account


def whole_of(destination: str, account: str) -> str:
    """Return the account (``account_of``) with tag or memo: an exchange has one account for all of its customers."""
    if "?" in destination:
        return f"{account}?{destination.partition('?')[2]}"
    before, _, behind = destination.partition(":")
    return f"{account}:{behind}" if behind and len(before) >= _TAGGED_CHARS else account


def _of_parts(account: str) -> str:
    """Return the account where a colon parts it: from its prefix, its workchain, or its tag."""
    before, _, behind = account.partition(":")
    if _CASH.fullmatch(account):
        return behind.lower()
    if len(before) >= _TAGGED_CHARS:
        return account_of(before)
    return _ton(int(before), bytes.fromhex(behind)) if _TON_RAW.fullmatch(account) else account


def _of_long(account: str, chars: int) -> str:
    """Return the account; nothing if it is none of these forms."""
    if chars == _TON_CHARS and account[:2] in _TON_BEGINS:
        return _of_ton(account)
    return _with_zeros(account) if chars in _BARE_LONG else ""


def _with_zeros(digits: str) -> str:
    """Return 0x and 64 digits; nothing if these are no digits, or more."""
    if len(digits) > _LONG_DIGITS or not _HEX.fullmatch(digits):
        return ""
    return f"0x{digits.lower().zfill(_LONG_DIGITS)}"


def _ton(workchain: int, account: bytes) -> str:
    """Return the address that bounces, for the main network."""
    data = _BOUNCES + workchain.to_bytes(1, signed=True) + account
    return base64.urlsafe_b64encode(data + crc_hqx(data, 0).to_bytes(2)).decode("ascii")


def _of_ton(account: str) -> str:
    """Return the address that bounces; nothing unless the checksum is right."""
    try:
        data = base64.b64decode(account.translate(_TO_BASE64), validate=True) if account.isascii() else b""
    except Error:
        return ""
    if not data or crc_hqx(data[:-2], 0) != int.from_bytes(data[-2:]):
        return ""
    return _ton(int.from_bytes(data[1:2], signed=True), data[2:-2])
