"""Bitcoin PSBTs against the vectors of BIP-143, BIP-174 and BIP-370.

The vectors of BIP-370 are all made of few fields: they are put together here as the BIP names them.
"""

import coincurve
import pytest

from keyvault.core.errors import Malformed
from keyvault.intents import psbt
from keyvault.intents.bitcoin_sighash import legacy_digest, segwit_digest
from keyvault.intents.bitcoin_spend import spent_outputs
from keyvault.intents.bitcoin_wire import Transaction, read_unsigned
from tests.intents.bitcoin_building import hash160, p2pkh, refusal, serialised, sha256d

Pairs = tuple[tuple[bytes, bytes], ...]


def unsigned(text: str) -> Transaction:
    return read_unsigned(bytes.fromhex(text), "transaction")


def test_bip_143_p2wpkh() -> None:
    """The native P2WPKH example of BIP-143 gives its sigHash."""
    transaction = unsigned(
        "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182"
        "d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f"
        "85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000"
    )
    key = bytes.fromhex("025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee6357")
    assert hash160(key).hex() == "1d0f172a0ecb48aee1be1f2687d2963ae33f71a1"
    digest = segwit_digest(transaction, 1, p2pkh(key), 600_000_000)
    assert digest.hex() == "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670"


def test_bip_143_p2sh_p2wpkh() -> None:
    """The P2SH-P2WPKH example of BIP-143 gives its sigHash."""
    transaction = unsigned(
        "0100000001db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a54770100000000feffffff02b8b4eb0b00000000"
        "1976a914a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f000000001976a914fd270b1ee6abcaea97fea7ad0402e8bd8a"
        "d6d77c88ac92040000"
    )
    key = bytes.fromhex("03ad1d8e89212f0b92c74d23bb710c00662ad1470198ac48c43f7d6f93a2a26873")
    digest = segwit_digest(transaction, 0, p2pkh(key), 1_000_000_000)
    assert digest.hex() == "64f3b0f4dd2bb3aa1ce8566d220cc74dda9df97d8490cc81d89d735c92e59fb6"


SIGNED = (
    "020000000258e87a21b56daf0c23be8e7070456c336f7cbaa5c8757924f545887bb2abdd750000000000ffffffff838d0427d0ec650a68aa46"
    "bb0b098aea4422c071b2ca78352a077959d07cea1d0100000000ffffffff0270aaf00800000000160014d85c2b71d0060b09c9886aeb815e50"
    "991dda124d00e1f5050000000016001400aea9a2e5f0f876a588df5546e8742d1d87008f00000000"
)
"""The unsigned transaction that BIP-174 takes from creator to extractor."""


def test_bip_174_signers() -> None:
    """The signatures that the signers of BIP-174 made for its multisig inputs are signatures of our digests."""
    transaction = unsigned(SIGNED)
    legacy = bytes.fromhex(
        "5221029583bf39ae0a609747ad199addd634fa6108559d6c5cd39b4c2183f1ab96e07f2102dab61ff49a14db6a7d02b0cd1fbb78fc4b18"
        "312b5b4e54dae4dba2fbfef536d752ae"
    )
    witness = bytes.fromhex(
        "522103089dc10c7ac6db54f91329af617333db388cead0c231f723379d1b99030b02dc21023add904f3d6dcf59ddb906b0dee23529b7ff"
        "b9ed50e5e86151926860221f0e7352ae"
    )
    one = (
        "3045022100f61038b308dc1da865a34852746f015772934208c6d24454393cd99bdf2217770220056e675a675a6d0a02b85b14e5e29074"
        "d8a25a9b5760bea2816f661910a006ea"
    )
    two = (
        "3044022065f45ba5998b59a27ffe1a7bed016af1f1f90d54b3aa8f7450aa5f56a25103bd02207f724703ad1edb96680b284b56d4ffcb88"
        "f7fb759eabbe08aa30f29b851383d2"
    )
    key = coincurve.PublicKey(bytes.fromhex("02dab61ff49a14db6a7d02b0cd1fbb78fc4b18312b5b4e54dae4dba2fbfef536d7"))
    assert key.verify(bytes.fromhex(one), legacy_digest(transaction, 0, legacy), hasher=None)
    key = coincurve.PublicKey(bytes.fromhex("023add904f3d6dcf59ddb906b0dee23529b7ffb9ed50e5e86151926860221f0e73"))
    assert key.verify(bytes.fromhex(two), segwit_digest(transaction, 1, witness, 200_000_000), hasher=None)


ONE_P2PKH = bytes.fromhex(
    "70736274ff0100750200000001268171371edff285e937adeea4b37b78000c0566cbb3ad64641713ca42171bf60000000000feffffff02d3df"
    "f505000000001976a914d0c59903c5bac2868760e90fd521a4665aa7652088ac00e1f5050000000017a9143545e6e33b832c47050f24d3eeb9"
    "3c9c03948bc787b32e1300000100fda5010100000000010289a3c71eab4d20e0371bbba4cc698fa295c9463afa2e397f8533ccb62f9567e501"
    "00000017160014be18d152a9b012039daf3da7de4f53349eecb985ffffffff86f8aa43a71dff1448893a530a7237ef6b4608bbb2dd2d0171e6"
    "3aec6a4890b40100000017160014fe3e9ef1a745e974d902c4355943abcb34bd5353ffffffff0200c2eb0b000000001976a91485cff1097fd9"
    "e008bb34af709c62197b38978a4888ac72fef84e2c00000017a914339725ba21efd62ac753a9bcd067d6c7a6a39d0587024730440220271"
    "2be22e0270f394f568311dc7ca9a68970b8025fdd3b240229f07f8a5f3a240220018b38d7dcd314e734c9276bd6fb40f673325bc4baa144c8"
    "00d2f2f02db2765c012103d2e15674941bad4a996372cb87e1856d3652606d98562fe39c5e9e7e413f210502483045022100d12b852d85dcd9"
    "61d2f5f4ab660654df6eedcc794c0c33ce5cc309ffb5fce58d022067338a8e0e1725c197fb1a88af59f51e44e4255b20167c8684031c05d1f2"
    "592a01210223b72beef0965d10be0778efecd61fcac6f79a4ea169393380734464f84f2ab300000000000000"
)
"""Valid in BIP-174: one P2PKH input; the transaction that it spends has witnesses."""


def test_bip_174_valid_p2pkh() -> None:
    """What a valid PSBT of BIP-174 spends is proven by its txid, which covers no witnesses; its key is not ours."""
    parsed = psbt.read(ONE_P2PKH)
    (spent,) = spent_outputs(parsed)
    assert (spent.amount, spent.script.hex()) == (200_000_000, "76a91485cff1097fd9e008bb34af709c62197b38978a4888ac")
    assert [output.amount for output in parsed.transaction.outputs] == [99_999_699, 100_000_000]
    assert parsed.transaction.locktime == 1_257_139
    assert refusal(ONE_P2PKH) == ("inputs[0]", "is not ours: it pays to another key than the one that is to sign")


def test_bip_174_without_inputs() -> None:
    """PSBTs without inputs, which BIP-174 calls valid, have nothing to sign."""
    for inside in (bytes(10), b"\x02" + bytes(4) + b"\x01" + bytes(8) + b"\x01\x51" + bytes(4)):
        found = refusal(b"psbt\xff" + serialised([(b"\x00", inside)]) + b"\0")
        assert found[0] == "global.unsigned_tx"
        assert found[1].startswith("has no inputs")


FUNDING = bytes.fromhex(
    "0200000001c1aa256e214b96a1822f93de42bff3b5f3ff8d0519306e3515d7515a5e805b120000000000ffffffff0118c69a3b000000001600"
    "14b0a3af144208412693ca7d166852b52db0aef06e00000000"
)
TXID = bytes.fromhex("0b0ad921419c1c8719735d72dc739f9ea9e0638d1fe4c1eef0f9944084815fc8")
SCRIPTS = [bytes.fromhex("0014" + text) for text in (
    "c430f64c4756da310dbd1a085572ef299926272c", "4dd193ac964a56ac1b9e1cca8454fe2f474f8513",
)]  # fmt: skip
TOP: Pairs = ((b"\x02", b"\x02\0\0\0"), (b"\x04", b"\x01"), (b"\x05", b"\x02"), (b"\xfb", b"\x02\0\0\0"))
IN: Pairs = ((b"\x0e", TXID), (b"\x0f", bytes(4)))
OUT: tuple[Pairs, Pairs] = (
    ((b"\x03", (800_000_000).to_bytes(8, "little")), (b"\x04", SCRIPTS[0])),
    ((b"\x03", (199_998_859).to_bytes(8, "little")), (b"\x04", SCRIPTS[1])),
)
OLD = b"\x02\0\0\0\x01" + TXID + bytes(5) + b"\xfe\xff\xff\xff\x02" + b"".join(
    amount + b"\x16" + script for (_, amount), (_, script) in OUT
) + bytes(4)  # fmt: skip


def second(top: Pairs = TOP, entries: Pairs = IN, out: tuple[Pairs, ...] = OUT) -> bytes:
    """Return a PSBT of version 2 from its maps."""
    return b"psbt\xff" + b"".join(map(serialised, (top, entries, *out)))


def first(top: Pairs = (), entries: Pairs = (), out: Pairs = ()) -> bytes:
    """Return a PSBT of version 0 with further pairs."""
    maps = (((b"\x00", OLD), *top), ((b"\x00", FUNDING), *entries), out, ())
    return b"psbt\xff" + b"".join(map(serialised, maps))


def without(pairs: Pairs, key: bytes) -> Pairs:
    return tuple(pair for pair in pairs if pair[0] != key)


def test_bip_370_required_fields_only() -> None:
    """A PSBT of version 2 with its required fields only is the transaction that they name, with lock time 0."""
    assert sha256d(FUNDING) == TXID
    data = second()
    assert data.hex() == (
        "70736274ff01020402000000010401010105010201fb040200000000010e200b0ad921419c1c8719735d72dc739f9ea9e0638d1fe4c1ee"
        "f0f9944084815fc8010f0400000000000103080008af2f000000000104160014c430f64c4756da310dbd1a085572ef299926272c000103"
        "088bbdeb0b0000000001041600144dd193ac964a56ac1b9e1cca8454fe2f474f851300"
    )
    transaction = psbt.read(data).transaction
    assert transaction.outpoints == (TXID + bytes(4),)
    assert transaction.sequences == (b"\xff" * 4,)
    assert [(o.amount, o.script) for o in transaction.outputs] == [(800_000_000, SCRIPTS[0]), (199_998_859, SCRIPTS[1])]
    assert (transaction.version, transaction.locktime) == (2, 0)


def test_bip_370_updated() -> None:
    """With the UTXO and a sequence number the amount is proven and the sequence is that of the transaction."""
    claim = (999_999_000).to_bytes(8, "little") + b"\x16" + FUNDING[-26:-4]
    entries = ((b"\x00", FUNDING), (b"\x01", claim), *IN, (b"\x10", b"\xfe\xff\xff\xff"))
    parsed = psbt.read(second(entries=entries))
    assert [spent.amount for spent in spent_outputs(parsed)] == [999_999_000]
    assert parsed.transaction.sequences == (b"\xfe\xff\xff\xff",)


INVALID: dict[str, tuple[bytes, str]] = {
    "PSBTv0 with version 2": (first(top=((b"\xfb", b"\x02\0\0\0"),)), "global.unsigned_tx"),
    "PSBTv0 with TX_VERSION": (first(top=((b"\x02", b"\x02\0\0\0"),)), "global.tx_version"),
    "PSBTv0 with FALLBACK_LOCKTIME": (first(top=((b"\x03", b"\x02\0\0\0"),)), "global.fallback_locktime"),
    "PSBTv0 with INPUT_COUNT": (first(top=((b"\x04", b"\x02"),)), "global.input_count"),
    "PSBTv0 with OUTPUT_COUNT": (first(top=((b"\x05", b"\x02"),)), "global.output_count"),
    "PSBTv0 with TX_MODIFIABLE": (first(top=((b"\x06", b"\0"),)), "global.tx_modifiable"),
    "PSBTv0 with PREVIOUS_TXID": (first(entries=((b"\x0e", TXID),)), "inputs[0].previous_txid"),
    "PSBTv0 with OUTPUT_INDEX": (first(entries=((b"\x0f", bytes(4)),)), "inputs[0].output_index"),
    "PSBTv0 with SEQUENCE": (first(entries=((b"\x10", b"\xff" * 4),)), "inputs[0].sequence"),
    "PSBTv0 with TIME_LOCKTIME": (
        first(entries=((b"\x11", b"\x8c\x8d\xc4\x62"),)), "inputs[0].required_time_locktime",
    ),
    "PSBTv0 with HEIGHT_LOCKTIME": (first(entries=((b"\x12", b"\x10\x27\0\0"),)), "inputs[0].required_height_locktime"),
    "PSBTv0 with AMOUNT": (first(out=(OUT[0][0],)), "outputs[0].amount"),
    "PSBTv0 with SCRIPT": (first(out=(OUT[0][1],)), "outputs[0].script"),
    "PSBTv2 with UNSIGNED_TX": (second(top=((b"\x00", OLD), *TOP)), "global.unsigned_tx"),
    "PSBTv2 without INPUT_COUNT": (second(top=without(TOP, b"\x04")), "global.input_count"),
    "PSBTv2 without OUTPUT_COUNT": (second(top=without(TOP, b"\x05")), "global.output_count"),
    "PSBTv2 without TX_VERSION": (second(top=without(TOP, b"\x02")), "global.tx_version"),
    "PSBTv2 without PREVIOUS_TXID": (second(entries=without(IN, b"\x0e")), "inputs[0].previous_txid"),
    "PSBTv2 without OUTPUT_INDEX": (second(entries=without(IN, b"\x0f")), "inputs[0].output_index"),
    "PSBTv2 without AMOUNT": (second(out=(OUT[0], without(OUT[1], b"\x03"))), "outputs[1].amount"),
    "PSBTv2 without SCRIPT": (second(out=(OUT[0], without(OUT[1], b"\x04"))), "outputs[1].script"),
    "PSBTv2 with an early TIME_LOCKTIME": (
        second(entries=(*IN, (b"\x11", b"\xff\x64\xcd\x1d"))), "inputs[0].required_time_locktime",
    ),
    "PSBTv2 with a high HEIGHT_LOCKTIME": (
        second(entries=(*IN, (b"\x12", b"\0\x65\xcd\x1d"))), "inputs[0].required_height_locktime",
    ),
    "PSBTv2 with HEIGHT_LOCKTIME 0": (second(entries=(*IN, (b"\x12", bytes(4)))), "inputs[0].required_height_locktime"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "field"), INVALID.values(), ids=INVALID.keys())
def test_bip_370_invalid(data: bytes, field: str) -> None:
    """Every invalid PSBT of BIP-370 is refused for the field that makes it invalid."""
    assert refusal(data)[0] == field


@pytest.mark.parametrize("flags", [0x01, 0x02, 0x04, 0x08, 0x03, 0x05, 0x06, 0x07, 0xFF])
def test_bip_370_modifiable(flags: int) -> None:
    """PSBTs that BIP-370 calls valid and that may still be changed are not signed."""
    assert refusal(second(top=(*TOP, (b"\x06", bytes((flags,))))))[0] == "global.tx_modifiable"


HEIGHTS = {10_000: (b"\x12", b"\x10\x27\0\0"), 9_000: (b"\x12", b"\x28\x23\0\0")}
TIMES = {1_657_048_460: (b"\x11", b"\x8c\x8d\xc4\x62"), 1_657_048_459: (b"\x11", b"\x8b\x8d\xc4\x62")}


@pytest.mark.parametrize(
    ("one", "two", "locktime"),
    [
        ((), (), 0),
        ((HEIGHTS[10_000],), (), 10_000),
        ((HEIGHTS[10_000],), (HEIGHTS[9_000],), 10_000),
        ((HEIGHTS[10_000],), (TIMES[1_657_048_460], HEIGHTS[9_000]), 10_000),
        ((TIMES[1_657_048_459], HEIGHTS[10_000]), (TIMES[1_657_048_460], HEIGHTS[9_000]), 10_000),
        ((TIMES[1_657_048_459],), (TIMES[1_657_048_460], HEIGHTS[9_000]), 1_657_048_460),
        ((TIMES[1_657_048_459], HEIGHTS[10_000]), (TIMES[1_657_048_460],), 1_657_048_460),
        ((), (TIMES[1_657_048_460],), 1_657_048_460),
        ((HEIGHTS[10_000],), (TIMES[1_657_048_460],), None),
    ],
)
def test_bip_370_lock_time(one: Pairs, two: Pairs, locktime: int | None) -> None:
    """The lock time is determined as in the vectors of BIP-370, or cannot be."""
    top = ((b"\x02", b"\x02\0\0\0"), (b"\x03", bytes(4)), (b"\x04", b"\x02"), (b"\x05", b"\x01"), TOP[3])
    outpoints = (
        "0f758dbfbd4da7c16c8a3309c3c81e1100f561ea646db5b01752c485e1bdde9f01000000",
        "3a1b3b3c837d6489ea7a31d8e6c7dd503c001bef3e06958e7574808d68ca78a500000000",
    )
    inputs = [((b"\x0e", raw[:32]), (b"\x0f", raw[32:])) for raw in map(bytes.fromhex, outpoints)]
    script = bytes.fromhex("00140b1352cacd03cf6aa1b7f3c8d6388671b34a5e11")
    paid = ((b"\x03", bytes.fromhex("4f93357700000000")), (b"\x04", script))
    data = b"psbt\xff" + b"".join(map(serialised, (top, (*inputs[0], *one), (*inputs[1], *two), paid)))
    if locktime is None:
        with pytest.raises(Malformed, match="no transaction has both"):
            psbt.read(data)
    else:
        assert psbt.read(data).transaction.locktime == locktime
