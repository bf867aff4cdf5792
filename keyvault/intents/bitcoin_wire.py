"""Bitcoin's network serialisation, read strictly: compact sizes, and the transactions that a PSBT holds.

Sources: BIP-144 (transactions with and without witnesses), Bitcoin Core's ``serialize.h`` (compact sizes are minimal).
Every byte is accounted for. A transaction that a PSBT wants signed has neither scriptSigs nor witnesses; the
transaction that an input spends has them, and its txid is the hash of what is left without the witnesses.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from keyvault.core import limits
from keyvault.core.errors import Malformed

MONEY_MAX = 21_000_000 * 10**8
"""In satoshi; no amount and no sum of amounts is ever higher (consensus, ``MAX_MONEY``)."""
TXID_BYTES = 32
OUTPOINT_BYTES = 36
"""txid in the order of the wire, and the index of the output, 4 bytes little-endian."""

_ONE_BYTE_MAX = 0xFC
_WIDTHS = {0xFD: 2, 0xFE: 4, 0xFF: 8}
_MINIMA = {0xFD: 0xFD, 0xFE: 0x1_0000, 0xFF: 0x1_0000_0000}
_VERSIONS = (1, 2, 3)
"""What Bitcoin Core relays; 3 is BIP-431. What others will mean is not known."""
_SHORT = tuple([bytes((length,)) for length in range(_ONE_BYTE_MAX + 1)])
_SEQUENCE_BYTES = 4


class TransactionOutput(NamedTuple):
    """``amount`` in satoshi goes to whoever satisfies ``script``."""

    amount: int
    script: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """An unsigned transaction. ``outpoints`` and ``sequences`` are the inputs, as on the wire; one each."""

    version: int
    outpoints: tuple[bytes, ...]
    sequences: tuple[bytes, ...]
    outputs: tuple[TransactionOutput, ...]
    locktime: int
    serialised_outputs: bytes
    """The outputs without their count, as sighashes and transactions have them."""


class Cursor:
    """Reads bytes from front to back. What is cut off or not in its shortest form is Malformed for ``field``."""

    __slots__ = ("at", "data", "end", "field")

    def __init__(self, data: bytes, field: str) -> None:
        self.data = data
        self.field = field
        self.at = 0
        self.end = len(data)

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        start = self.at
        stop = start + size
        if stop > self.end:
            raise Malformed(self.field, f"is cut off: {size} bytes should stand at byte {start}")
        self.at = stop
        return self.data[start:stop]

    def integer(self, size: int) -> int:
        """Return an unsigned little-endian integer."""
        return int.from_bytes(self.take(size), "little")

    def compact(self) -> int:
        """Return a compact size in its shortest form."""
        start = self.at
        if start >= self.end:
            raise Malformed(self.field, f"is cut off: a size should stand at byte {start}")
        first = self.data[start]
        self.at = start + 1
        if first <= _ONE_BYTE_MAX:
            return first
        value = self.integer(_WIDTHS[first])
        if value < _MINIMA[first]:
            raise Malformed(self.field, f"the size at byte {start} is not in its shortest form")
        return value

    def string(self) -> bytes:
        """Return the bytes whose length stands before them."""
        start = self.at
        if start < self.end and (size := self.data[start]) <= _ONE_BYTE_MAX and start + size < self.end:
            # The usual case without a further call: a short string that is all there.
            self.at = stop = start + 1 + size
            return self.data[start + 1 : stop]
        return self.take(self.compact())

    def finish(self) -> None:
        """Refuse bytes that follow."""
        if self.at != self.end:
            raise Malformed(self.field, f"{self.end - self.at} bytes follow its end")


def compact(value: int) -> bytes:
    """Return a compact size in its shortest form."""
    if value <= _ONE_BYTE_MAX:
        return bytes((value,))
    marker = next(marker for marker in (0xFF, 0xFE, 0xFD) if value >= _MINIMA[marker])
    return bytes((marker,)) + value.to_bytes(_WIDTHS[marker], "little")


def prefixed(content: bytes) -> bytes:
    """Return ``content`` with its length before it."""
    length = len(content)
    return (_SHORT[length] if length <= _ONE_BYTE_MAX else compact(length)) + content


def serialise(outputs: Iterable[TransactionOutput]) -> bytes:
    """Return outputs without their count."""
    return b"".join([amount.to_bytes(8, "little") + prefixed(script) for amount, script in outputs])


def double_sha256(data: bytes) -> bytes:
    """Return SHA-256 of SHA-256: Bitcoin's hash of transactions and of what is signed."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def read_unsigned(data: bytes, field: str) -> Transaction:
    """Return the transaction of a PSBT of version 0: no scriptSig, no witness, and encodes to ``data``."""
    cursor = Cursor(data, field)
    version = cursor.integer(4)
    count = bounded(cursor.compact(), limits.BITCOIN_INPUTS_MAX, "inputs", field)
    outpoints: list[bytes] = []
    sequences: list[bytes] = []
    for index in range(count):
        spending = cursor.take(OUTPOINT_BYTES + 1 + _SEQUENCE_BYTES)
        if spending[OUTPOINT_BYTES]:
            raise Malformed(field, f"input {index} has a scriptSig: an unsigned transaction has none")
        outpoints.append(spending[:OUTPOINT_BYTES])
        sequences.append(spending[-_SEQUENCE_BYTES:])
    count = bounded(cursor.compact(), limits.BITCOIN_OUTPUTS_MAX, "outputs", field)
    outputs = tuple([_output(cursor) for _ in range(count)])
    locktime = cursor.integer(4)
    cursor.finish()
    transaction = checked(
        Transaction(version, tuple(outpoints), tuple(sequences), outputs, locktime, serialise(outputs)), field
    )
    if encode(transaction) != data:
        raise Malformed(field, "is not the canonical encoding of what it says")
    return transaction


def bounded(count: int, maximum: int, what: str, field: str) -> int:
    """Return ``count``, or raise Malformed when it is 0 or too high to look at."""
    if not count:
        raise Malformed(field, f"has no {what}: there is nothing to sign (or it is in the form with witnesses)")
    if count > maximum:
        raise Malformed(field, f"has {count} {what}, at most {maximum} are read")
    return count


def checked(transaction: Transaction, field: str) -> Transaction:
    """Return a transaction that the network would not refuse by itself, and whose meaning is known."""
    if transaction.version not in _VERSIONS:
        raise Malformed(field, "has an unknown version: 1, 2 and 3 are known")
    if len(set(transaction.outpoints)) != len(transaction.outpoints):
        raise Malformed(field, "spends one output twice")
    if sum([output.amount for output in transaction.outputs]) > MONEY_MAX:
        raise Malformed(field, "its outputs are more than all coins that there will be")
    return transaction


def encode(transaction: Transaction, script_signatures: tuple[bytes, ...] = ()) -> bytes:
    """Return the transaction in the form without witnesses; without ``script_signatures`` these are empty."""
    scripts = map(prefixed, script_signatures) if script_signatures else (b"\0",) * len(transaction.outpoints)
    inputs = zip(transaction.outpoints, scripts, transaction.sequences, strict=True)
    return b"".join(
        (
            transaction.version.to_bytes(4, "little"),
            compact(len(transaction.outpoints)),
            *[part for spending in inputs for part in spending],
            compact(len(transaction.outputs)),
            transaction.serialised_outputs,
            transaction.locktime.to_bytes(4, "little"),
        )
    )


def read_spent(data: bytes, index: int, field: str) -> tuple[bytes, TransactionOutput]:
    """Return the txid of a transaction of the chain, in the order of the wire, and its output ``index``."""
    cursor = Cursor(data, field)
    cursor.take(4)
    count = cursor.compact()
    witnessed = count == 0
    if witnessed:
        if cursor.take(1) != b"\x01":
            raise Malformed(field, "has no inputs, and not the mark of a transaction with witnesses either")
        count = cursor.compact()
        if not count:
            raise Malformed(field, "has no inputs")
    for _ in range(count):
        cursor.take(OUTPOINT_BYTES)
        cursor.string()
        cursor.take(_SEQUENCE_BYTES)
    spent: TransactionOutput | None = None
    for place in range(cursor.compact()):
        output = _output(cursor)
        if place == index:
            spent = output
    body = data[6 : cursor.at] if witnessed else b""
    if witnessed:
        _skip_witnesses(cursor, count)
    locktime = cursor.take(4)
    cursor.finish()
    if spent is None:
        raise Malformed(field, f"has no output {index}, which the input spends")
    return double_sha256(data[:4] + body + locktime if witnessed else data), spent


def read_output(data: bytes, field: str) -> TransactionOutput:
    """Return the output that ``data`` is."""
    cursor = Cursor(data, field)
    output = _output(cursor)
    cursor.finish()
    return output


def _output(cursor: Cursor) -> TransactionOutput:
    amount = int.from_bytes(cursor.take(8), "little")
    if amount > MONEY_MAX:
        raise Malformed(cursor.field, "an output has more than all coins that there will be, or less than nothing")
    return TransactionOutput(amount, cursor.string())


def _skip_witnesses(cursor: Cursor, count: int) -> None:
    """Read the witnesses of ``count`` inputs. The txid does not cover them, and nothing here depends on them."""
    filled = False
    for _ in range(count):
        for _ in range(cursor.compact()):
            cursor.string()
            filled = True
    if not filled:
        raise Malformed(cursor.field, "is in the form with witnesses and has none")
