"""PSBTs for the tests of the Bitcoin decoder, written from the BIPs and not with the code under test."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import coincurve
import pytest
from Crypto.Hash import RIPEMD160
from embit import ec, finalizer, networks, psbt, script  # type: ignore[import-untyped]  # embit has no types

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Intent, Payload, PayloadKind, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents import bitcoin_psbt

Pairs = Sequence[tuple[bytes, bytes]]

SECRET = bytes.fromhex("46" * 32)
OTHER_SECRET = bytes.fromhex("47" * 32)
FINAL = 0xFFFFFFFF


def point(secret: bytes, *, compressed: bool = True) -> bytes:
    return coincurve.PrivateKey(secret).public_key.format(compressed=compressed)


OWN = point(SECRET)
OTHER = point(OTHER_SECRET)
SIGNER = Signer(
    algorithm=KeyAlgorithm.SECP256K1,
    public_key=point(SECRET, compressed=False),
    stamp=Stamp(at=UnixMillis(1_700_000_000_000), nonce=1_700_000_000_000),
)


def size(number: int) -> bytes:
    if number < 0xFD:
        return bytes((number,))
    return b"\xfd" + number.to_bytes(2, "little") if number < 0x10000 else b"\xfe" + number.to_bytes(4, "little")


def string(data: bytes) -> bytes:
    return size(len(data)) + data


@lru_cache(maxsize=1_000)
def hash160(data: bytes) -> bytes:
    return RIPEMD160.new(hashlib.sha256(data).digest()).digest()


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def p2pkh(key: bytes) -> bytes:
    return b"\x76\xa9\x14" + hash160(key) + b"\x88\xac"


def p2wpkh(key: bytes) -> bytes:
    return b"\x00\x14" + hash160(key)


def p2sh(script: bytes) -> bytes:
    return b"\xa9\x14" + hash160(script) + b"\x87"


def p2wsh(script: bytes) -> bytes:
    return b"\x00\x20" + hashlib.sha256(script).digest()


def multisig(needed: int, *keys: bytes) -> bytes:
    return bytes((0x50 + needed,)) + b"".join(map(string, keys)) + bytes((0x50 + len(keys), 0xAE))


def single(key: bytes) -> bytes:
    return string(key) + b"\xac"


P2TR = b"\x51\x20" + OTHER[1:]
STRANGER = p2wpkh(OTHER)


@lru_cache(maxsize=1_000)
def address(paid: bytes, network: str = "main") -> str:
    """Return the address that embit writes."""
    return str(script.Script(paid).address(networks.NETWORKS[network]))


def read_by_embit(data: bytes) -> Any:  # noqa: ANN401  embit has no types
    return psbt.PSBT.parse(data)


def finalised_by_embit(data: bytes) -> bytes:
    """Return the network transaction that embit makes."""
    return bytes(finalizer.finalize_psbt(psbt.PSBT.parse(data)).serialize())


def der_by_embit(r: int, s: int) -> bytes:
    # embit keeps r and s as libsecp256k1 does on this machine: 32 bytes each, the lowest first.
    return bytes(ec.Signature(r.to_bytes(32, "little") + s.to_bytes(32, "little")).serialize())


def output(amount: int, script: bytes) -> bytes:
    return amount.to_bytes(8, "little") + string(script)


def previous(outputs: Sequence[bytes], *, salt: int = 0, witness: bool = False) -> tuple[bytes, bytes]:
    """Return (txid, bytes) of a transaction of the chain that has ``outputs``."""
    spends = b"\x01" + bytes((salt % 251 + 1,)) * 32 + salt.to_bytes(4, "little") + b"\x00" + b"\xff" * 4
    paid = size(len(outputs)) + b"".join(outputs)
    plain = b"\x02\0\0\0" + spends + paid + bytes(4)
    witnessed = b"\x02\0\0\0\0\x01" + spends + paid + b"\x01\x02\xaa\xbb" + bytes(4)
    return sha256d(plain), witnessed if witness else plain


@dataclass
class Coin:
    """An input that spends output ``index`` of a made-up transaction; ``pairs`` come after the UTXO fields."""

    script: bytes
    amount: int = 100_000
    pairs: Pairs = ()
    sequence: int = FINAL
    salt: int = 1
    index: int = 0
    witness: bool = False
    non_witness: bool = True
    witness_utxo: bytes | None = None
    made: tuple[bytes, bytes] = field(init=False)

    def __post_init__(self) -> None:
        before = [output(1, P2TR)] * self.index
        self.made = previous([*before, output(self.amount, self.script)], salt=self.salt, witness=self.witness)

    @property
    def outpoint(self) -> bytes:
        return self.made[0] + self.index.to_bytes(4, "little")

    def entries(self) -> list[tuple[bytes, bytes]]:
        utxo = [(b"\x00", self.made[1])] if self.non_witness else []
        return [*utxo, *([(b"\x01", self.witness_utxo)] if self.witness_utxo is not None else []), *self.pairs]


def serialised(pairs: Pairs) -> bytes:
    return b"".join(string(key) + string(value) for key, value in pairs) + b"\0"


def unsigned(
    coins: Sequence[Coin], outputs: Sequence[tuple[int, bytes]], *, locktime: int = 0, version: int = 2
) -> bytes:
    inputs = b"".join(coin.outpoint + b"\0" + coin.sequence.to_bytes(4, "little") for coin in coins)
    paid = b"".join(output(*pair) for pair in outputs)
    head = version.to_bytes(4, "little") + size(len(coins)) + inputs
    return head + size(len(outputs)) + paid + locktime.to_bytes(4, "little")


def version_0(
    coins: Sequence[Coin],
    outputs: Sequence[tuple[int, bytes]],
    *,
    top: Pairs = (),
    out: Pairs = (),
    locktime: int = 0,
    version: int = 2,
) -> bytes:
    """Return a PSBT of version 0; ``top`` and ``out`` are further pairs of the global and of each output map."""
    transaction = unsigned(coins, outputs, locktime=locktime, version=version)
    maps = [[(b"\x00", transaction), *top], *[coin.entries() for coin in coins], *[out for _ in outputs]]
    return b"psbt\xff" + b"".join(map(serialised, maps))


def version_2(
    coins: Sequence[Coin],
    outputs: Sequence[tuple[int, bytes]],
    *,
    top: Mapping[bytes, bytes | None] = {},
    locktime: int | None = None,
) -> bytes:
    """Return a PSBT of version 2; ``top`` changes pairs of the global map, None takes one out."""
    first: dict[bytes, bytes | None] = {
        b"\x02": b"\x02\0\0\0",
        b"\x03": None if locktime is None else locktime.to_bytes(4, "little"),
        b"\x04": size(len(coins)),
        b"\x05": size(len(outputs)),
        b"\xfb": b"\x02\0\0\0",
    }
    changed = [(key, value) for key, value in {**first, **top}.items() if value is not None]
    inputs = [
        [
            *coin.entries(),
            (b"\x0e", coin.outpoint[:32]),
            (b"\x0f", coin.outpoint[32:]),
            *([(b"\x10", coin.sequence.to_bytes(4, "little"))] if coin.sequence != FINAL else []),
        ]
        for coin in coins
    ]
    paid = [[(b"\x03", amount.to_bytes(8, "little")), (b"\x04", script)] for amount, script in outputs]
    return b"psbt\xff" + b"".join(map(serialised, [changed, *inputs, *paid]))


def payload(psbt: bytes, index: int | bytes = 0, network: bytes = b"mainnet") -> Payload:
    number = index if isinstance(index, bytes) else str(index).encode()
    return Payload(kind=PayloadKind.BITCOIN_PSBT, parts=(psbt, number, network))


def parse(psbt: bytes, index: int | bytes = 0, network: bytes = b"mainnet", signer: Signer = SIGNER) -> Intent:
    return bitcoin_psbt.parse(payload(psbt, index, network), signer)


def refusal(
    psbt: bytes, index: int | bytes = 0, network: bytes = b"mainnet", signer: Signer = SIGNER
) -> tuple[str, str]:
    """Return field (below bitcoin_psbt) and problem of the refusal that must come."""
    with pytest.raises(Malformed) as caught:
        parse(psbt, index, network, signer)
    head, _, rest = caught.value.field.partition(".")
    assert head == bitcoin_psbt.FIELD
    return rest, caught.value.problem
