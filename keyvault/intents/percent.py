"""Percent-encoding in one form: RFC 3986 unreserved characters stand for themselves, all other bytes are %XX."""

import re
from typing import Final

UNRESERVED: Final = "A-Za-z0-9._~-"
"""As the inside of a character class."""

_WRITTEN = {n: f"%{n:02X}" for n in range(256) if not re.fullmatch(rf"[{UNRESERVED}]", chr(n))}
_READ = {b"%02X" % n: bytes([n]) for n in range(256)}


def encode(data: bytes) -> str:
    """Return the one way to write ``data``."""
    return data.decode("latin-1").translate(_WRITTEN)


def decode(text: str) -> bytes:
    """Return the bytes that ASCII ``text`` stands for. It is well formed if and only if ``encode`` gives it back."""
    first, *escaped = text.encode("ascii").split(b"%")
    return first + b"".join([_READ.get(each[:2], b"%" + each[:2]) + each[2:] for each in escaped])
