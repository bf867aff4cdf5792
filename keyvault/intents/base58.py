"""Base58 with Bitcoin's alphabet and without a checksum, as Solana writes addresses (draft-msporny-base58-03).

One text for each string of bytes: every leading zero byte is one leading ``1``, and nothing else is tolerated, neither
spaces nor 0, O, I and l.
"""

from typing import Final

from keyvault.core.errors import Malformed

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_CHUNK: Final = 58**10
"""Ten digits at once: few divisions of long integers, the others fit into a machine word."""


def encode(data: bytes) -> str:
    """Return the one text of ``data``. Takes quadratic time: meant for keys and hashes."""
    number = int.from_bytes(data, "big")
    parts: list[str] = []
    while number:
        number, chunk = divmod(number, _CHUNK)
        for _ in range(5):
            chunk, pair = divmod(chunk, 3364)
            parts.append(_PAIRS[pair])
    parts.reverse()
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + "".join(parts).lstrip("1")


def decode(text: str, size: int) -> bytes:
    """Return the ``size`` bytes whose text is ``text``, or raise Malformed with field ``base58``."""
    if not text or len(text) > 2 * size:
        raise Malformed("base58", f"has {len(text)} characters, which cannot be {size} bytes")
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise Malformed("base58", f"{character!r} is not in the alphabet, which has no 0, O, I and l")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    if zeros + (number.bit_length() + 7) // 8 != size:
        raise Malformed("base58", f"is not the text of {size} bytes")
    return number.to_bytes(size, "big")
