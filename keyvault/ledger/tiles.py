"""C2SP tiles (c2sp.org/tlog-tiles): where hashes and entries of a ledger stand in an export, as paths and bytes.

A tile has 256 hashes; hash i of tile n at level l is the root of the 256^l leaves from (n * 256 + i) * 256^l. Only
full subtrees have a hash; the last tile of a level may be partial. An entry bundle has 256 entries, each after its
length in two bytes.
"""

from collections.abc import Iterable, Iterator, Sequence

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.ledger.merkle import BLOCK_LEAVES, HASH_BYTES, perfect_root

TILE_BYTES_MAX = BLOCK_LEAVES * HASH_BYTES
LENGTH_BYTES = 2
BUNDLE_BYTES_MAX = BLOCK_LEAVES * (LENGTH_BYTES + limits.ENTRY_BYTES_MAX)
_GROUP = 1_000


def tile_path(level: int, number: int, width: int) -> str:
    """Return the path of a hash tile with ``width`` hashes: ``tile/<level>/<number>[.p/<width>]``."""
    return f"tile/{level}/{_number(number)}{_partial(width)}"


def bundle_path(number: int, width: int) -> str:
    """Return the path of a bundle with ``width`` entries: ``tile/entries/<number>[.p/<width>]``."""
    return f"tile/entries/{_number(number)}{_partial(width)}"


def _number(number: int) -> str:
    """Return the number in groups of three digits, all but the last marked: 1234067 is ``x001/x234/067``."""
    groups = [f"{number % _GROUP:03}"]
    while number >= _GROUP:
        number //= _GROUP
        groups.append(f"x{number % _GROUP:03}")
    return "/".join(reversed(groups))


def _partial(width: int) -> str:
    return "" if width == BLOCK_LEAVES else f".p/{width}"


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Return the bytes of a bundle."""
    return b"".join(len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries)


def decode_bundle(data: bytes) -> list[bytes]:
    """Return the entries, or raise Malformed if a length does not fit the bytes."""
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        start = place + LENGTH_BYTES
        place = start + int.from_bytes(data[place:start], "big")
        if start > len(data) or place > len(data):
            raise Malformed("bundle", f"entry {len(entries)} is longer than what is left")
        entries.append(data[start:place])
    return entries


def hash_tiles(leaf_hashes: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Give (path, bytes) of every hash tile of the tree over these leaves, the partial ones last."""
    rows: list[list[bytes]] = [[]]
    full: list[int] = [0]
    for leaf in leaf_hashes:
        rows[0].append(leaf)
        level = 0
        while len(rows[level]) == BLOCK_LEAVES:
            yield tile_path(level, full[level], BLOCK_LEAVES), b"".join(rows[level])
            if level + 1 == len(rows):
                rows.append([])
                full.append(0)
            rows[level + 1].append(perfect_root(rows[level]))
            rows[level] = []
            full[level] += 1
            level += 1
    for level, row in enumerate(rows):
        if row:
            yield tile_path(level, full[level], len(row)), b"".join(row)


def blocks(entries: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    """Give the entries in groups of 256; the last may be smaller."""
    block: list[bytes] = []
    for entry in entries:
        block.append(entry)
        if len(block) == BLOCK_LEAVES:
            yield block
            block = []
    if block:
        yield block
