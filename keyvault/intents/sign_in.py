"""Sign-In with Ethereum: the text of EIP-4361, in its one form.

Stricter than the EIP's grammar: no user name in the domain, no port 0, chain ids without leading zeros. Who verifies
the text may be lax, so a text that only resembles it is not a harmless message (``resembles``).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.intents.address import parse_address

_URI = r"[A-Za-z][A-Za-z0-9+.-]*+:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]++"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_MESSAGE: Final = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?"
    r"(?P<domain>(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])(?::[1-9][0-9]{0,4})?)"
    r" wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9A-Fa-f]{40})\n\n"
    r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;= -]++\n)?\n"
    rf"URI: {_URI}\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain>[1-9][0-9]{0,76})\n"
    r"Nonce: [A-Za-z0-9]{8,}+\n"
    rf"Issued At: (?P<issued>{_TIME})"
    rf"(?:\nExpiration Time: (?P<expires>{_TIME}))?"
    rf"(?:\nNot Before: (?P<begins>{_TIME}))?"
    r"(?:\nRequest ID: [A-Za-z0-9._~!$&'()*+,;=:@%-]*+)?"
    rf"(?P<resources>\nResources:(?:\n- {_URI})*+)?",
    re.ASCII,
)
_SIGN_IN: Final = re.compile(r"sign[\s_-]*in\s+with\s+your\s+ethereum\s+account")
_RECAP: Final = "urn:recap:"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FRACTION: Final = re.compile(r"\.[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Who lets which site open a session. ``address`` is in lower case; the times are as in the text."""

    domain: str
    address: str
    chain_id: int
    not_before: UnixMillis | None
    expires_at: UnixMillis | None


def resembles(text: str) -> bool:
    """Return whether somebody could take ``text`` for a sign-in."""
    return _SIGN_IN.search(text.lower()) is not None


def read(text: str) -> SignIn | None:
    """Return the sign-in that ``text`` is; None for everything else.

    None, too, for one that hands abilities to somebody by ReCaps (ERC-5573): that is more than a session.
    """
    match = _MESSAGE.fullmatch(text)
    if match is None or _RECAP in (match["resources"] or "").lower():
        return None
    try:
        _time(match["issued"])
        return SignIn(
            domain=match["domain"],
            address=parse_address(match["address"]),
            chain_id=int(match["chain"]),
            not_before=_time(match["begins"]),
            expires_at=_time(match["expires"]),
        )
    except (Malformed, ValueError):
        return None


def _time(text: str | None) -> UnixMillis | None:
    """Return the time in milliseconds, what is finer cut off; raise ValueError for no date, or one before 1970."""
    if text is None:
        return None
    moment = datetime.fromisoformat(_FRACTION.sub("", text)) - _EPOCH
    fraction = _FRACTION.search(text)
    millis = moment // _MILLISECOND + (int(fraction[0][1:4].ljust(3, "0")) if fraction else 0)
    if millis < 0:
        raise ValueError(text)
    return UnixMillis(millis)
