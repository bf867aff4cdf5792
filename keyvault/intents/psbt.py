"""Partially signed Bitcoin transactions as maps, version 0 (BIP-174) and version 2 (BIP-370), read strictly.

- ``psbt`` 0xff, then the global map, one map for each input, one for each output, and nothing after.
- Sizes are in their shortest form; no key stands twice in a map; each known key and value has the form of its type.
- Version 0 has the unsigned transaction and no field of version 2; version 2 has its required fields and no unsigned
  transaction. Other versions do not exist.
- The global map has known keys only: whatever another signer may read in an unknown or proprietary one, nobody here
  has read it.
- The maps keep the order in which they came, and encode to the very bytes that were read.

Whether an input may be signed is decided in ``bitcoin_spend``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents import psbt_keys as keys
from keyvault.intents.bitcoin_wire import (
    Cursor,
    Transaction,
    bounded,
    checked,
    prefixed,
    read_output,
    read_unsigned,
    serialise,
)

FIELD: Final = "bitcoin_psbt"

_MAGIC = b"psbt\xff"
_VERSIONS = (0, 2)
_VERSION_BYTES = 4
FINAL_SEQUENCE = b"\xff\xff\xff\xff"
_ONE_BYTE_TYPE_MAX = 0xFC
_PROPRIETARY = 0xFC

Entries = dict[bytes, bytes]
"""One map: key (type and data) to value, in the order of the bytes."""


@dataclass(frozen=True, slots=True)
class Psbt:
    """A well-formed PSBT, and the transaction that it is about."""

    version: int
    top: Entries
    inputs: tuple[Entries, ...]
    outputs: tuple[Entries, ...]
    transaction: Transaction


def read(data: bytes, bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> Psbt:
    """Return the PSBT that ``data`` is, or raise Malformed."""
    if len(data) > bytes_max:
        raise Malformed(FIELD, f"has more than {bytes_max} bytes")
    cursor = Cursor(data, FIELD)
    if data[: len(_MAGIC)] != _MAGIC:
        hint = ": send its bytes, not their Base64 or hex" if data[:5] in (b"cHNid", b"70736") else ""
        raise Malformed(FIELD, f"does not begin with the bytes 'psbt' 0xff{hint}")
    cursor.at = len(_MAGIC)
    top = _entries(cursor)
    version = _version(top)
    _check_global(top, version)
    if version == 0:
        field = f"{FIELD}.global.unsigned_tx"
        transaction = read_unsigned(_required(top, keys.UNSIGNED_TX, field), field)
        counts = len(transaction.outpoints), len(transaction.outputs)
        inputs, outputs = _scopes(cursor, version, *counts)
    else:
        inputs, outputs = _scopes(cursor, version, *_counts(top))
        transaction = _transaction(top, inputs, outputs)
    cursor.finish()
    psbt = Psbt(version, top, inputs, outputs, transaction)
    if encode(psbt.top, psbt.inputs, psbt.outputs) != data:
        raise Malformed(FIELD, "is not the canonical encoding of what it says")
    return psbt


def encode(top: Mapping[bytes, bytes], inputs: tuple[Entries, ...], outputs: tuple[Entries, ...]) -> bytes:
    """Return the PSBT of these maps, each in its order."""
    parts = [_MAGIC]
    for entries in (top, *inputs, *outputs):
        for key, value in entries.items():
            parts += (prefixed(key), prefixed(value))
        parts.append(b"\0")
    return b"".join(parts)


def unknown(key: bytes) -> str:
    """Return in words which type an unknown key has."""
    kind = _type(key, FIELD)
    return "proprietary type 0xfc" if kind == _PROPRIETARY else f"unknown type {kind:#04x}"


def _entries(cursor: Cursor) -> Entries:
    """Return the next map."""
    entries: Entries = {}
    while size := cursor.compact():
        key = cursor.take(size)
        if key in entries:
            raise Malformed(cursor.field, f"a map has the key {key[:40].hex()} twice")
        entries[key] = cursor.string()
        if len(entries) > limits.PSBT_ENTRIES_MAX:
            raise Malformed(cursor.field, f"a map has more than {limits.PSBT_ENTRIES_MAX} keys")
    return entries


def _type(key: bytes, field: str) -> int:
    return key[0] if key[0] <= _ONE_BYTE_TYPE_MAX else Cursor(key, field).compact()


def _check_entry(types: Mapping[int, keys.KeyType], version: int, key: bytes, value: bytes, field: str) -> bool:
    """Return whether the type of a key is known; if so, raise Malformed unless key and value have its form."""
    known = types.get(key[0])  # a type of more than one byte begins with what is no type: none is known
    if known is None:
        _type(key, field)
        return False
    if version not in known.versions:
        raise Malformed(f"{field}.{known.name}", f"does not belong into a PSBT of version {version}")
    if (len(key) > 1) if known.bare else not known.key(key[1:]):
        raise Malformed(f"{field}.{known.name}", "its key does not have the form of its type")
    if not known.value(value):
        raise Malformed(f"{field}.{known.name}", "its value does not have the form of its type")
    return True


def _check_global(top: Entries, version: int) -> None:
    for key, value in top.items():
        if not _check_entry(keys.GLOBAL, version, key, value, f"{FIELD}.global"):
            raise Malformed(f"{FIELD}.global", f"has a key of {unknown(key)}: nobody here can say what it means")
        if key[0] == keys.XPUB and not keys.path_matches(key, value):
            raise Malformed(f"{FIELD}.global.xpub", "its path is not as long as the depth of the key says")
    if top.get(keys.TX_MODIFIABLE, b"\0") != b"\0":
        problem = "is not 0: a signature for all inputs and outputs asks that none may be added or removed any more"
        raise Malformed(f"{FIELD}.global.tx_modifiable", problem)


def _version(top: Entries) -> int:
    value = top.get(keys.VERSION, bytes(4))
    version = int.from_bytes(value, "little")
    if len(value) != _VERSION_BYTES or version not in _VERSIONS:
        raise Malformed(f"{FIELD}.global.version", "must be 0 or 2, in 4 bytes")
    return version


def _scopes(cursor: Cursor, version: int, inputs: int, outputs: int) -> tuple[tuple[Entries, ...], tuple[Entries, ...]]:
    """Return the maps of the inputs and of the outputs."""
    scopes = (keys.INPUT, "inputs", inputs), (keys.OUTPUT, "outputs", outputs)
    read_scopes = []
    for types, name, count in scopes:
        found = []
        for index in range(count):
            entries = _entries(cursor)
            field = f"{FIELD}.{name}[{index}]"
            for key, value in entries.items():
                _check_entry(types, version, key, value, field)
            found.append(entries)
        read_scopes.append(tuple(found))
    return read_scopes[0], read_scopes[1]


def _required(entries: Entries, key: bytes, field: str) -> bytes:
    value = entries.get(key)
    if value is None:
        raise Malformed(field, "is missing")
    return value


def _counts(top: Entries) -> tuple[int, int]:
    """Return how many inputs and outputs a PSBT of version 2 says that it has."""
    counts = []
    for key, name, maximum in (
        (keys.INPUT_COUNT, "inputs", limits.BITCOIN_INPUTS_MAX),
        (keys.OUTPUT_COUNT, "outputs", limits.BITCOIN_OUTPUTS_MAX),
    ):
        field = f"{FIELD}.global.{name[:-1]}_count"
        cursor = Cursor(_required(top, key, field), field)
        count = cursor.compact()
        cursor.finish()
        counts.append(bounded(count, maximum, name, FIELD))
    return counts[0], counts[1]


def _transaction(top: Entries, inputs: tuple[Entries, ...], outputs: tuple[Entries, ...]) -> Transaction:
    """Return the transaction that the maps of a PSBT of version 2 describe."""
    outpoints = []
    for index, entries in enumerate(inputs):
        field = f"{FIELD}.inputs[{index}]"
        txid = _required(entries, keys.PREVIOUS_TXID, f"{field}.previous_txid")
        outpoints.append(txid + _required(entries, keys.OUTPUT_INDEX, f"{field}.output_index"))
    paid = []
    for index, entries in enumerate(outputs):
        field = f"{FIELD}.outputs[{index}]"
        amount = _required(entries, keys.OUTPUT_AMOUNT, f"{field}.amount")
        script = _required(entries, keys.OUTPUT_SCRIPT, f"{field}.script")
        paid.append(read_output(amount + prefixed(script), f"{field}.amount"))
    transaction = Transaction(
        version=int.from_bytes(_required(top, keys.TX_VERSION, f"{FIELD}.global.tx_version"), "little"),
        outpoints=tuple(outpoints),
        sequences=tuple([entries.get(keys.SEQUENCE, FINAL_SEQUENCE) for entries in inputs]),
        outputs=tuple(paid),
        locktime=locktime(top, inputs),
        serialised_outputs=serialise(paid),
    )
    return checked(transaction, FIELD)


def locktime(top: Entries, inputs: tuple[Entries, ...]) -> int:
    """Return nLockTime of a PSBT of version 2 (BIP-370, "Determining Lock Time"); heights go before times."""
    asking = [entries for entries in inputs if keys.TIME_LOCKTIME in entries or keys.HEIGHT_LOCKTIME in entries]
    if not asking:
        return int.from_bytes(top.get(keys.FALLBACK_LOCKTIME, b""), "little")
    for key in (keys.HEIGHT_LOCKTIME, keys.TIME_LOCKTIME):
        wanted = [entries[key] for entries in asking if key in entries]
        if len(wanted) == len(asking):
            return max([int.from_bytes(value, "little") for value in wanted])
    raise Malformed(FIELD, "one input needs a lock time as a height, another one as a time: no transaction has both")
