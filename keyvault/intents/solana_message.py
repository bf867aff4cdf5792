"""The wire form of Solana messages, legacy and version 0, in their only encoding.

legacy     header (3 bytes) || keys || recent blockhash || instructions
version 0  0x80 || legacy || look-ups of further accounts in tables on the chain

A list is a compact-u16 (7 bits a byte, least significant first, at most three bytes) and its items. Source: Solana
documentation, "Transactions"; crates ``solana-message`` and ``solana-short-vec``. Decoded here and encoded again:
bytes that are not equal are refused, so is all that the chain's own checks refuse (``sanitize``, duplicate accounts,
the size of a packet).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from keyvault.core import limits
from keyvault.core.errors import Malformed

FIELD: Final = "solana_message"

SIGNER: Final = 1
WRITABLE: Final = 2
SIGNATURE_BYTES: Final = 64

_KEY_BYTES = 32
_VERSION = 0x80
"""Set in the first byte of every message that has a version; a legacy message begins with its count of signers."""
_VERSION_0 = 0x80
_VERSION_1 = 0x81
_OFF_CHAIN = b"\xffsolana offchain"
_ACCOUNTS_MAX = 256
"""An instruction names an account by one byte."""
_LENGTH_BYTES_MAX = 3


class Instruction(NamedTuple):
    """``program`` and ``accounts`` are indices: keys of the message first, then looked-up accounts."""

    program: int
    accounts: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Lookup:
    """Indices into a table that lies on the chain; which accounts they are, these bytes do not say."""

    table: bytes
    writable: bytes
    readonly: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """``privileges`` has SIGNER and WRITABLE of every account, looked-up ones last; ``keys`` those that are known.

    The first ``header[0]`` keys must sign, the first of them pays. ``lookups`` is None for a legacy message.
    """

    header: bytes
    keys: tuple[bytes, ...]
    blockhash: bytes
    instructions: tuple[Instruction, ...]
    lookups: tuple[Lookup, ...] | None
    privileges: bytes

    @property
    def signers(self) -> tuple[bytes, ...]:
        """The keys that must sign, in the order of their signatures."""
        return self.keys[: self.header[0]]

    def looked_up(self, index: int) -> tuple[bytes, int]:
        """Return table and position of an account that is not among ``keys``."""
        return self._loaded()[index - len(self.keys)]

    def _loaded(self) -> list[tuple[bytes, int]]:
        lookups = self.lookups or ()
        writable = [(lookup.table, index) for lookup in lookups for index in lookup.writable]
        return writable + [(lookup.table, index) for lookup in lookups for index in lookup.readonly]


def decode(data: bytes) -> Message:
    """Return the message that ``data`` is, or raise Malformed."""
    _check_beginning(data)
    start = 1 if data[0] == _VERSION_0 else 0
    header = data[start : start + 3]
    at, keys = _keys(data, start + 3)
    _check_header(header, len(keys), len(data))
    blockhash = data[at : at + _KEY_BYTES]
    try:
        at, instructions = _instructions(data, at + _KEY_BYTES)
        at, lookups = _lookups(data, at) if start else (at, None)
    except IndexError:
        raise Malformed(FIELD, "is cut off") from None
    # Whatever was cut off before ended here, too: every list says its length.
    if at != len(data):
        raise Malformed(FIELD, f"{len(data) - at} bytes follow the message" if at < len(data) else "is cut off")
    privileges = _privileges(header, len(keys), lookups or ())
    message = Message(header, keys, blockhash, instructions, lookups, privileges)
    _check_references(message)
    if encode(message) != data:
        raise Malformed(FIELD, "is not the canonical encoding of what it says")
    return message


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    parts = [message.header, length(len(message.keys)), *message.keys, message.blockhash]
    parts.append(length(len(message.instructions)))
    for one in message.instructions:
        parts += (bytes((one.program,)), length(len(one.accounts)), one.accounts, length(len(one.data)), one.data)
    if message.lookups is None:
        return b"".join(parts)
    parts.append(length(len(message.lookups)))
    for lookup in message.lookups:
        parts += (lookup.table, length(len(lookup.writable)), lookup.writable)
        parts += (length(len(lookup.readonly)), lookup.readonly)
    return b"\x80" + b"".join(parts)


def length(value: int) -> bytes:
    """Return a length below 2**16 as compact-u16."""
    return _LENGTHS[value] if value < _VERSION else _long_length(value)


_LENGTHS = tuple(bytes((value,)) for value in range(_VERSION))


def _long_length(value: int) -> bytes:
    parts = bytearray()
    while value >= _VERSION:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _check_beginning(data: bytes) -> None:
    if not data:
        raise Malformed(FIELD, "is empty")
    if len(data) + 1 + SIGNATURE_BYTES > limits.SOLANA_TRANSACTION_BYTES_MAX:
        raise Malformed(FIELD, f"does not fit into {limits.SOLANA_TRANSACTION_BYTES_MAX} bytes with a signature")
    if data.startswith(_OFF_CHAIN):
        raise Malformed(FIELD, "is an off-chain message, which is not a transaction: not supported")
    if data[0] == _VERSION_1:
        raise Malformed(FIELD, "has version 1 (SIMD-0385), which is not supported: send version 0")
    if data[0] > _VERSION_0:
        raise Malformed(FIELD, f"has unknown version {data[0] - _VERSION}: send version 0 or legacy")


def _check_header(header: bytes, keys: int, size: int) -> None:
    signers, readonly_signers, readonly_others = header
    if not signers:
        raise Malformed(f"{FIELD}.header", "asks for no signature")
    if readonly_signers >= signers:
        raise Malformed(f"{FIELD}.header", "leaves no signer writable: the first one pays the fee")
    if signers + readonly_others > keys:
        raise Malformed(f"{FIELD}.header", f"speaks of {signers + readonly_others} accounts or more, there are {keys}")
    if 1 + signers * SIGNATURE_BYTES + size > limits.SOLANA_TRANSACTION_BYTES_MAX:
        raise Malformed(f"{FIELD}.header", f"with {signers} signatures it is longer than the network takes")


def _keys(data: bytes, at: int) -> tuple[int, tuple[bytes, ...]]:
    """Return where the blockhash begins, and the keys; both are whole."""
    if at >= len(data):
        raise Malformed(FIELD, "is cut off")
    count = data[at]
    first = at + 1
    end = first + count * _KEY_BYTES
    # A count of two bytes (128 and more) would be longer than a transaction may be.
    if count >= _VERSION or end + _KEY_BYTES > len(data):
        raise Malformed(f"{FIELD}.accounts", "are more than there are bytes")
    keys = tuple([data[start : start + _KEY_BYTES] for start in range(first, end, _KEY_BYTES)])
    if len(set(keys)) != count:
        raise Malformed(f"{FIELD}.accounts", "has one twice: the chain takes each only once")
    return end, keys


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return where the compact-u16 at ``at`` ends, and its value; IndexError if it is cut off."""
    value = data[at]
    if value < _VERSION:
        return at + 1, value
    value &= 0x7F
    for position in range(1, _LENGTH_BYTES_MAX):
        byte = data[at + position]
        if not byte:
            break
        value |= (byte & 0x7F) << 7 * position
        if byte < _VERSION:
            return at + position + 1, value
    raise Malformed(FIELD, f"the length at byte {at} is not in its shortest form, or too great")


def _bytes(data: bytes, at: int) -> tuple[int, bytes]:
    """Return where the bytes end whose length stands at ``at``, and them; fewer if they are cut off."""
    first, size = _length(data, at)
    end = first + size
    return end, data[first:end]


def _instructions(data: bytes, at: int) -> tuple[int, tuple[Instruction, ...]]:
    at, count = _length(data, at)
    if not count:
        raise Malformed(f"{FIELD}.instructions", "has none: the message would do nothing but cost its fee")
    if count > limits.EFFECTS_MAX:
        raise Malformed(f"{FIELD}.instructions", f"has more than {limits.EFFECTS_MAX}")
    instructions = []
    for _ in range(count):
        program, size = data[at], data[at + 1]
        # Nearly all lengths have one byte: they are read here, which saves a fifth of the time of a message.
        if size < _VERSION:
            end = at + 2 + size
            accounts = data[at + 2 : end]
        else:
            end, accounts = _bytes(data, at + 1)
        size = data[end]
        if size < _VERSION:
            at = end + 1 + size
            content = data[end + 1 : at]
        else:
            at, content = _bytes(data, end)
        instructions.append(Instruction(program, accounts, content))
    return at, tuple(instructions)


def _lookups(data: bytes, at: int) -> tuple[int, tuple[Lookup, ...]]:
    at, count = _length(data, at)
    lookups = []
    for _ in range(count):
        table = data[at : at + _KEY_BYTES]
        at, writable = _bytes(data, at + _KEY_BYTES)
        at, readonly = _bytes(data, at)
        _check_lookup(writable + readonly)
        lookups.append(Lookup(table, writable, readonly))
    if len({lookup.table for lookup in lookups}) != count:
        raise Malformed(f"{FIELD}.lookups", "has one table twice: name all its accounts at once")
    return at, tuple(lookups)


def _check_lookup(indices: bytes) -> None:
    if not indices:
        raise Malformed(f"{FIELD}.lookups", "has a table of which it takes nothing")
    if len(set(indices)) != len(indices):
        raise Malformed(f"{FIELD}.lookups", "takes one account of a table twice")


def _privileges(header: bytes, keys: int, lookups: tuple[Lookup, ...]) -> bytes:
    signers, readonly_signers, readonly_others = header
    others = keys - signers
    static = (
        bytes((SIGNER | WRITABLE,)) * (signers - readonly_signers)
        + bytes((SIGNER,)) * readonly_signers
        + bytes((WRITABLE,)) * (others - readonly_others)
        + bytes(readonly_others)
    )
    if not lookups:
        return static
    writable = sum(len(lookup.writable) for lookup in lookups)
    return static + bytes((WRITABLE,)) * writable + bytes(sum(len(lookup.readonly) for lookup in lookups))


def _check_references(message: Message) -> None:
    """Raise Malformed unless all indices lead to accounts, and programs are named in the message itself."""
    known, accounts = len(message.keys), len(message.privileges)
    if accounts > _ACCOUNTS_MAX:
        raise Malformed(f"{FIELD}.accounts", f"are {accounts} with those of tables, more than {_ACCOUNTS_MAX}")
    for number, instruction in enumerate(message.instructions):
        if not 0 < instruction.program < known:
            raise Malformed(f"{FIELD}.instructions[{number}]", _program_problem(instruction.program, accounts))
        if instruction.accounts and max(instruction.accounts) >= accounts:
            raise Malformed(f"{FIELD}.instructions[{number}]", "names an account that is not there")


def _program_problem(index: int, accounts: int) -> str:
    if not index:
        return "has the fee payer as its program"
    if index < accounts:
        return "has a program from a look-up table: these bytes do not say which one it is"
    return "has a program that is not there"
