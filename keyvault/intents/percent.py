"""Percent-encoding in one form: RFC 3986 unreserved characters stand for themselves, all other bytes are %XX."""

import re
from typing import Final

UNRESERVED: Final = "A-Za-z0-9._~-"
"""As the inside of a character class."""

_RESERVED = re.compile(rf"[^{UNRESERVED}]")
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")


def encode(data: bytes) -> str:
    """Return the one way to write ``data``."""
    return _RESERVED.sub(lambda match: f"%{ord(match[0]):02X}", data.decode("latin-1"))


def decode(text: str) -> bytes:
    """Return the bytes that ASCII ``text`` stands for. It is well formed if and only if ``encode`` gives it back."""
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), text.encode("ascii"))
