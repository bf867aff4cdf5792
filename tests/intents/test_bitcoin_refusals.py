"""Bitcoin PSBTs that are refused: attacks on signers, and whatever could be read in a second way."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload, PayloadKind
from keyvault.intents import bitcoin_psbt
from keyvault.intents.bitcoin_wire import Cursor
from tests.intents.bitcoin_building import (
    OTHER,
    OWN,
    P2TR,
    SECRET,
    SIGNER,
    STRANGER,
    Coin,
    multisig,
    output,
    p2pkh,
    p2sh,
    p2wpkh,
    p2wsh,
    parse,
    point,
    refusal,
    serialised,
    single,
    string,
    unsigned,
    version_0,
    version_2,
)

ME = p2wpkh(OWN)
PAY = [(60_000, STRANGER)]
UNCOMPRESSED = point(SECRET, compressed=False)
ALL = (1).to_bytes(4, "little")
GOOD = version_0([Coin(ME)], PAY)
GOOD_2 = version_2([Coin(ME)], PAY)
PATH = b"\xd9\x0c\x6a\x4f" + bytes(8)


def own(*pairs: tuple[bytes, bytes], **more: object) -> bytes:
    """Return a payment from one P2WPKH input of ours with further pairs in its map."""
    return version_0([Coin(ME, pairs=pairs, **more)], PAY)  # type: ignore[arg-type]  # names of Coin's fields


def script(redeem: bytes | None = None, witness: bytes | None = None, spent: bytes | None = None) -> bytes:
    """Return a payment from an input with scripts; what is spent is made from them unless it is given."""
    program = redeem if redeem is not None else p2wsh(witness or b"")
    pairs = [(b"\x04", redeem)] if redeem is not None else []
    pairs += [(b"\x05", witness)] if witness is not None else []
    default = p2sh(program) if redeem is not None else program
    return version_0([Coin(default if spent is None else spent, pairs=pairs)], PAY)


SHARED = multisig(1, OWN, OTHER)

SIGNER_REFUSES: dict[str, tuple[bytes, str, str]] = {
    "A39 segwit without the whole transaction": (
        version_0([Coin(ME, non_witness=False, witness_utxo=output(100_000, ME))], PAY),
        "inputs[0].non_witness_utxo", "is missing",
    ),
    "A39 foreign input without the whole transaction": (
        version_0([Coin(ME), Coin(STRANGER, salt=2, non_witness=False, witness_utxo=output(1, STRANGER))], PAY),
        "inputs[1].non_witness_utxo", "is missing",
    ),
    "A39 amount claimed higher": (
        own(witness_utxo=output(100_001, ME)), "inputs[0].witness_utxo", "says another amount or script",
    ),
    "A39 script claimed": (
        version_0([Coin(STRANGER, witness_utxo=output(100_000, ME))], PAY),
        "inputs[0].witness_utxo", "says another amount or script",
    ),
    "A39 wrong transaction": (
        version_0([Coin(ME, non_witness=False, pairs=[(b"\x00", Coin(ME, amount=10**9).made[1])])], PAY),
        "inputs[0].non_witness_utxo", "is not the transaction that the input spends",
    ),
    "A39 witness UTXO of a legacy input": (
        version_0([Coin(p2pkh(OWN), witness_utxo=output(100_000, p2pkh(OWN)))], PAY),
        "inputs[0].witness_utxo", "stands in an input without segwit",
    ),
    "A39 witness UTXO of a legacy script in P2SH": (
        version_0([Coin(p2sh(SHARED), pairs=[(b"\x04", SHARED)], witness_utxo=output(100_000, p2sh(SHARED)))], PAY),
        "inputs[0].witness_utxo", "stands in an input without segwit",
    ),
    "A39 SIGHASH_NONE": (own((b"\x03", b"\x02\0\0\0")), "inputs[0].sighash_type", "is not SIGHASH_ALL"),
    "A39 SIGHASH_SINGLE|ANYONECANPAY": (own((b"\x03", b"\x83\0\0\0")), "inputs[0].sighash_type", "is not SIGHASH_ALL"),
    "A39 SIGHASH_ALL|ANYONECANPAY": (own((b"\x03", b"\x81\0\0\0")), "inputs[0].sighash_type", "is not SIGHASH_ALL"),
    "SIGHASH_DEFAULT of taproot": (own((b"\x03", bytes(4))), "inputs[0].sighash_type", "is not SIGHASH_ALL"),
    "A39 sighash type twice": (own((b"\x03", ALL), (b"\x03", ALL)), "", "has the key 03 twice"),
    "short sighash type": (own((b"\x03", b"\x01")), "inputs[0].sighash_type", "its value does not have the form"),
    "wrong redeem script": (script(ME, spent=p2sh(p2wpkh(OTHER))), "inputs[0].redeem_script", "is not what the output"),
    "redeem script of a segwit output": (own((b"\x04", ME)), "inputs[0].redeem_script", "is not what the output"),
    "no redeem script": (version_0([Coin(p2sh(ME))], PAY), "inputs[0].redeem_script", "is missing"),
    "wrong witness script": (
        script(witness=single(OWN), spent=p2wsh(SHARED)), "inputs[0].witness_script", "is not what the output",
    ),
    "wrong witness script in P2SH": (
        script(p2wsh(SHARED), single(OWN)), "inputs[0].witness_script", "is not what the output",
    ),
    "witness script of P2WPKH": (own((b"\x05", single(OWN))), "inputs[0].witness_script", "is not what the output"),
    "no witness script": (version_0([Coin(p2wsh(SHARED))], PAY), "inputs[0].witness_script", "is missing"),
    "taproot": (version_0([Coin(P2TR)], PAY), "inputs[0]", "no Schnorr"),
    "taproot fields": (own((b"\x17", OTHER[1:])), "inputs[0]", "taproot fields"),
    "finalised": (own((b"\x08", b"\x00")), "inputs[0]", "is finalised already"),
    "finalised legacy": (own((b"\x07", b"\x00")), "inputs[0]", "is finalised already"),
    "signed": (own((b"\x02" + OWN, bytes(70))), "inputs[0].partial_sig", "has signed this input already"),
    "proprietary key": (own((b"\xfc\x03abc\x00", b"")), "inputs[0]", "proprietary type 0xfc"),
    "unknown key": (own((b"\x7f", b"")), "inputs[0]", "unknown type 0x7f"),
    "unknown long key": (own((b"\xfd\xff\x00", b"")), "inputs[0]", "unknown type 0xff"),
    "preimage": (own((b"\x0b" + bytes(32), b"x")), "inputs[0].sha256", "is not needed"),
    "proof of reserves": (own((b"\x09", b"x")), "inputs[0].por_commitment", "is not needed"),
    "uncompressed key named": (own((b"\x06" + UNCOMPRESSED, PATH)), "inputs[0]", "names the uncompressed form"),
    "uncompressed key paid": (version_0([Coin(p2pkh(UNCOMPRESSED))], PAY), "inputs[0]", "uncompressed form of our key"),
    "uncompressed key in P2WSH": (
        script(witness=multisig(1, OTHER, UNCOMPRESSED)), "inputs[0].witness_script", "is neither",
    ),
    "uncompressed key in P2WPKH": (version_0([Coin(p2wpkh(UNCOMPRESSED))], PAY), "inputs[0]", "is not ours"),
    "another's P2PKH": (version_0([Coin(p2pkh(OTHER))], PAY), "inputs[0]", "is not ours"),
    "another's P2WPKH, ours by claim": (
        version_0([Coin(STRANGER, pairs=[(b"\x06" + OWN, PATH)])], PAY), "inputs[0]", "is not ours",
    ),
    "another's P2SH-P2WPKH": (script(STRANGER), "inputs[0]", "is not ours"),
    "another's single key": (script(witness=single(OTHER)), "inputs[0]", "does not name the key"),
    "another's multisig": (script(witness=multisig(1, OTHER)), "inputs[0]", "does not name the key"),
    "multisig in P2SH without segwit": (script(SHARED), "inputs[0]", "is P2SH of something else"),
    "bare multisig": (version_0([Coin(SHARED)], PAY), "inputs[0]", "has a script that is not signed here"),
    "bare key": (version_0([Coin(single(OWN))], PAY), "inputs[0]", "has a script that is not signed here"),
    "anyone can spend": (version_0([Coin(b"\x51")], PAY), "inputs[0]", "has a script that is not signed here"),
    "unknown witness version": (version_0([Coin(b"\x52\x20" + bytes(32))], PAY), "inputs[0]", "not signed here"),
    "key behind a condition": (
        script(witness=b"\x63" + single(OWN) + b"\x67" + single(OTHER) + b"\x68"),
        "inputs[0].witness_script", "is neither",
    ),
    "3 of 2": (script(witness=multisig(3, OWN, OTHER)), "inputs[0].witness_script", "is neither"),
    "no key needed": (script(witness=multisig(0, OWN, OTHER)), "inputs[0].witness_script", "is neither"),
    "one key twice": (script(witness=multisig(2, OWN, OWN)), "inputs[0].witness_script", "is neither"),
    "17 keys": (
        script(witness=multisig(1, OWN, *[bytes((2, n)) + bytes(31) for n in range(16)])),
        "inputs[0].witness_script", "is neither",
    ),
    "keys that are fewer than said": (
        script(witness=multisig(1, OWN, OTHER)[:-2] + b"\x53\xae"), "inputs[0].witness_script", "is neither",
    ),
    "another push": (
        script(witness=SHARED[:1] + b"\x20" + SHARED[2:]), "inputs[0].witness_script", "is neither",
    ),
    "CHECKMULTISIGVERIFY": (script(witness=SHARED[:-1] + b"\xaf"), "inputs[0].witness_script", "is neither"),
    "outputs above inputs": (version_0([Coin(ME)], [(100_001, STRANGER)]), "", "outputs are more than its inputs"),
    "output spent twice": (version_0([Coin(ME), Coin(ME)], PAY), "global.unsigned_tx", "spends one output twice"),
    "A39 output spent twice in version 2": (version_2([Coin(ME), Coin(ME)], PAY), "", "spends one output twice"),
    "outputs above all coins": (
        version_0([Coin(ME)], [(21 * 10**14, STRANGER), (1, STRANGER)]), "global.unsigned_tx", "more than all coins",
    ),
    "negative output": (version_0([Coin(ME)], [(2**64 - 1, STRANGER)]), "global.unsigned_tx", "less than nothing"),
    "inputs above all coins": (
        version_0([Coin(ME, amount=21 * 10**14), Coin(ME, amount=1, salt=2)], PAY), "", "inputs more than all coins",
    ),
    "unknown transaction version": (version_0([Coin(ME)], PAY, version=4), "global.unsigned_tx", "unknown version"),
    "unknown global key": (version_0([Coin(ME)], PAY, top=[(b"\x7f", b"")]), "global", "unknown type 0x7f"),
    "proprietary global key": (version_0([Coin(ME)], PAY, top=[(b"\xfc\x00", b"")]), "global", "proprietary"),
    "ownership commitment": (version_0([Coin(ME)], PAY, top=[(b"\x07", b"")]), "global", "unknown type 0x07"),
    "A39 global key twice": (version_0([Coin(ME)], PAY, top=[(b"\xfb", bytes(4)), (b"\xfb", bytes(4))]), "", "twice"),
    "path of another depth": (
        version_0([Coin(ME)], PAY, top=[(b"\x01\x04\x88\xb2\x1e\x01" + bytes(73), PATH)]), "global.xpub", "depth",
    ),
    "inputs modifiable": (version_2([Coin(ME)], PAY, top={b"\x06": b"\x01"}), "global.tx_modifiable", "is not 0"),
    "outputs modifiable": (version_2([Coin(ME)], PAY, top={b"\x06": b"\x02"}), "global.tx_modifiable", "is not 0"),
    "undefined flag": (version_2([Coin(ME)], PAY, top={b"\x06": b"\x80"}), "global.tx_modifiable", "is not 0"),
    "version 1": (version_2([Coin(ME)], PAY, top={b"\xfb": b"\x01\0\0\0"}), "global.version", "must be 0 or 2"),
    "no version": (version_2([Coin(ME)], PAY, top={b"\xfb": None}), "global.tx_version", "version 0"),
}  # fmt: skip


@pytest.mark.parametrize(("psbt", "field", "problem"), SIGNER_REFUSES.values(), ids=SIGNER_REFUSES.keys())
def test_signer_refuses(psbt: bytes, field: str, problem: str) -> None:
    """What would be signed blindly, is not ours by its script, or has unknown parts is refused, with the reason."""
    found = refusal(psbt)
    assert found[0] == field
    assert problem in found[1]


def test_swapped_amounts_of_two_requests_do_not_pass() -> None:
    """A39, CVE-2020-14199: the two PSBTs that each lie about one amount are both refused, so no fee can be burnt."""
    coins = [Coin(ME, amount=10**8, salt=1), Coin(ME, amount=10**8, salt=2)]
    for lying in range(2):
        claimed = [
            replace(coin, witness_utxo=output(10**8 if place == lying else 10**4, ME), non_witness=False)
            for place, coin in enumerate(coins)
        ]
        for index in range(2):
            assert refusal(version_0(claimed, [(10**8, STRANGER)]), index)[0] == "inputs[0].non_witness_utxo"
        proven = [replace(coin, non_witness=True) for coin in claimed]
        assert refusal(version_0(proven, [(10**8, STRANGER)]), lying)[1].startswith("says another amount")


def spending(data: bytes) -> bytes:
    """Return a payment whose input brings ``data`` as the transaction that it spends."""
    return version_0([Coin(ME, non_witness=False, pairs=[(b"\x00", data)])], PAY)


def raw(*maps: bytes) -> bytes:
    return b"psbt\xff" + b"".join(maps)


TX = unsigned([Coin(ME)], PAY)
TOP = serialised([(b"\x00", TX)])
IN = serialised(Coin(ME).entries())
SPENT = Coin(ME).made[1]
LONG = b"\xfd" + len(TX).to_bytes(2, "little")

MISREAD: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "", "does not begin with"),
    "Base64": (b"cHNidP8BAHEC", "", "not their Base64"),
    "hex": (GOOD.hex().encode(), "", "not their Base64 or hex"),
    "magic alone": (b"psbt\xff", "", "a size should stand at byte 5"),
    "trailing byte": (GOOD + b"\0", "", "1 bytes follow its end"),
    "trailing byte, version 2": (GOOD_2 + b"\0", "", "1 bytes follow its end"),
    "cut off": (GOOD[:-1], "", "is cut off"),
    "size not in its shortest form": (raw(b"\x01\x00" + LONG + TX + b"\0", IN, b"\0"), "", "not in its shortest form"),
    "key size not in its shortest form": (raw(b"\xfd\x01\0\x00" + string(TX) + b"\0", IN, b"\0"), "", "shortest form"),
    "type not in its shortest form": (
        own((b"\xfd\x03\0", ALL)), "inputs[0]", "not in its shortest form",
    ),
    "type cut off": (own((b"\xfe\x03", ALL)), "inputs[0]", "is cut off"),
    "size beyond the end": (raw(b"\x01\x00\xff" + b"\xff" * 8), "", "is cut off"),
    "longer transaction": (raw(serialised([(b"\x00", TX + b"\0")]), IN, b"\0"), "global.unsigned_tx", "1 b"),
    "transaction cut off": (raw(serialised([(b"\x00", TX[:-1])]), IN, b"\0"), "global.unsigned_tx", "is cut off"),
    "scriptSig": (
        raw(serialised([(b"\x00", TX[:41] + b"\x01" + TX[41:])]), IN, b"\0"), "global.unsigned_tx", "has a scriptSig",
    ),
    "form with witnesses": (
        raw(serialised([(b"\x00", TX[:4] + b"\0\x01" + TX[4:-4] + b"\0" + TX[-4:])]), IN, b"\0"),
        "global.unsigned_tx", "form with witnesses",
    ),
    "no outputs": (version_0([Coin(ME)], []), "global.unsigned_tx", "has no outputs"),
    "no inputs": (version_0([], PAY), "global.unsigned_tx", "has no inputs"),
    "no outputs, version 2": (version_2([Coin(ME)], []), "", "has no outputs"),
    "too many inputs": (version_2([Coin(ME)], PAY, top={b"\x04": b"\xfd\x01\x01"}), "", "at most 256 are read"),
    "too many outputs": (version_2([Coin(ME)], PAY, top={b"\x05": b"\xfe" + b"\xff" * 4}), "", "at most 256"),
    "count not in its shortest form": (
        version_2([Coin(ME)], PAY, top={b"\x04": b"\xfd\x01\0"}), "global.input_count", "shortest form",
    ),
    "count with more after it": (version_2([Coin(ME)], PAY, top={b"\x04": b"\x01\0"}), "global.input_count", "follow"),
    "more inputs than maps": (version_2([Coin(ME)], PAY, top={b"\x04": b"\x02"}), "inputs[1].sighash_type", "form"),
    "spent transaction with more after it": (
        spending(SPENT + b"\0"),
        "inputs[0].non_witness_utxo", "1 bytes follow",
    ),
    "spent transaction with empty witnesses": (
        spending(SPENT[:4] + b"\0\x01" + SPENT[4:-4] + b"\0" * 5),
        "inputs[0].non_witness_utxo", "and has none",
    ),
    "spent transaction without inputs": (
        spending(SPENT[:4] + b"\0\x01\0\0\0\0\0\0"),
        "inputs[0].non_witness_utxo", "has no inputs",
    ),
    "spent transaction with another mark": (
        spending(SPENT[:4] + b"\0\x02" + SPENT[4:]),
        "inputs[0].non_witness_utxo", "not the mark",
    ),
    "spent transaction without that output": (
        raw(
            serialised([(b"\x00", TX[:37] + b"\x01" + TX[38:])]), IN, b"\0",
        ), "inputs[0].non_witness_utxo", "has no output 1",
    ),
    "claim with more after it": (own(witness_utxo=output(100_000, ME) + b"\0"), "inputs[0].witness_utxo", "follow"),
    "claim cut off": (own(witness_utxo=output(100_000, ME)[:-1]), "inputs[0].witness_utxo", "is cut off"),
    "empty map key type of two": (own((b"\x02\x02", bytes(70))), "inputs[0].partial_sig", "its key"),
    "many keys": (
        version_0([Coin(ME), Coin(STRANGER, salt=2, pairs=[(bytes((0x7F, n)), b"") for n in range(256)])], PAY),
        "", "has more than 256 keys",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("psbt", "field", "problem"), MISREAD.values(), ids=MISREAD.keys())
def test_misread_is_refused(psbt: bytes, field: str, problem: str) -> None:
    """Bytes that are not exactly one PSBT in its one form are refused, with place and reason."""
    found = refusal(psbt)
    assert found[0] == field
    assert problem in found[1]


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        (b"\x08", b"\x02\x01a", "final_scriptwitness"),
        (b"\x08", b"\x01\x01ab", "final_scriptwitness"),
        (b"\x15" + bytes(34), b"\xac\xc0", "tap_leaf_script"),
        (b"\x15" + bytes(33), b"", "tap_leaf_script"),
        (b"\x13", bytes(63), "tap_key_sig"),
        (b"\x0a" + bytes(19), b"", "ripemd160"),
        (b"\x06" + OTHER, PATH[:3], "bip32_derivation"),
        (b"\x02" + bytes(33), bytes(70), "partial_sig"),
        (b"\x02" + OTHER, bytes(8), "partial_sig"),
    ],
)
def test_known_types_have_their_form_everywhere(key: bytes, value: bytes, name: str) -> None:
    """Also in an input that is not to be signed, a key or value without the form of its type spoils the PSBT."""
    for write in (version_0, version_2):
        psbt = write([Coin(ME), Coin(STRANGER, salt=2, pairs=[(key, value)])], PAY)
        assert refusal(psbt)[0] == f"inputs[1].{name}"
    good = [(b"\x08", b"\x01\x01a"), (b"\x15" + bytes(65), b"\xac\xc0"), (b"\x17", OTHER[1:])]
    assert parse(version_0([Coin(ME), Coin(STRANGER, salt=2, pairs=good)], PAY)).effects


def test_whatever_a_reader_forgives_is_refused_on_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reader took sizes in a long form, the second encoding would not give the bytes that were read."""

    def lax(cursor: Cursor) -> int:
        first = cursor.take(1)[0]
        return first if first <= 0xFC else cursor.integer(1 << first - 0xFC)

    monkeypatch.setattr(Cursor, "compact", lax)
    monkeypatch.setattr(Cursor, "string", lambda cursor: cursor.take(cursor.compact()))
    assert parse(GOOD).effects[0].amount == 60_000
    long_map = raw(b"\x01\x00" + LONG + TX + b"\0", IN, b"\0")
    assert refusal(long_map) == ("", "is not the canonical encoding of what it says")
    long_count = raw(serialised([(b"\x00", TX[:4] + b"\xfd\x01\0" + TX[5:])]), IN, b"\0")
    assert refusal(long_count) == ("global.unsigned_tx", "is not the canonical encoding of what it says")


@pytest.mark.parametrize(
    "index", [b"", b"00", b"01", b"+0", b"-1", b" 0", b"0\n", b"1", b"0001", b"\xd9\xa0", b"0x0", b"1e0"]
)
def test_number_of_the_input(index: bytes) -> None:
    """The number of the input has one spelling, and there is such an input."""
    assert refusal(GOOD, index)[0] == "input"


@pytest.mark.parametrize("network", [b"", b"Mainnet", b"main", b"signet", b"bitcoin", b"mainnet\0"])
def test_network_is_one_of_three_words(network: bytes) -> None:
    """Any other word for the network is refused."""
    assert refusal(GOOD, network=network)[0] == "network"


@pytest.mark.parametrize("key", [b"", OWN, bytes(65), UNCOMPRESSED[:-1], bytes(32)])
def test_key_must_be_a_point(key: bytes) -> None:
    """A key that is not an uncompressed secp256k1 point cannot own bitcoin here."""
    assert "is not a secp256k1 key" in refusal(GOOD, signer=replace(SIGNER, public_key=key))[1]


@pytest.mark.parametrize("parts", [(), (GOOD,), (GOOD, b"0"), (GOOD, b"0", b"mainnet", b"")])
def test_parts_are_three(parts: tuple[bytes, ...]) -> None:
    """A payload with other parts is refused."""
    with pytest.raises(Malformed, match="has three parts"):
        bitcoin_psbt.parse(Payload(kind=PayloadKind.BITCOIN_PSBT, parts=parts), SIGNER)


def test_size_is_bounded_before_reading() -> None:
    """One byte more than a payload may have is refused before anything is read."""
    assert refusal(b"\0" * (limits.PAYLOAD_BYTES_MAX + 1)) == ("", "has more than 24576 bytes")
    assert refusal(b"\0" * limits.PAYLOAD_BYTES_MAX)[1].startswith("does not begin")


@pytest.mark.parametrize(
    "build",
    [
        lambda: own((b"\x03", ALL)),
        lambda: own((b"\x06" + OWN, PATH)),
        lambda: own((b"\x02" + OTHER, bytes(70))),
        lambda: own(witness=True),
        lambda: version_0([Coin(ME, index=2)], PAY),
        lambda: version_0([Coin(ME)], PAY, top=[(b"\xfb", bytes(4))]),
        lambda: version_0([Coin(ME)], PAY, out=[(b"\x7fx", b"y"), (b"\xfc\x00", b"")]),
        lambda: version_0([Coin(ME), Coin(STRANGER, salt=2, pairs=[(b"\x7f", b""), (b"\xfd\xfd\x00", b"")])], PAY),
        lambda: version_0([Coin(ME), Coin(STRANGER, salt=2, pairs=[(b"\x03", b"\x83\0\0\0"), (b"\x08", b"\0")])], PAY),
        lambda: version_2([Coin(ME)], PAY, top={b"\x06": b"\0"}),
    ],
)
def test_accepted(build: Callable[[], bytes]) -> None:
    """What an honest wallet may add is accepted: types, paths, signatures of others, unknown keys elsewhere."""
    (effect,) = parse(build()).effects
    assert (effect.amount, effect.destination) == (60_000, "bc1qcchvzytl5qctjack88c7zp24eklw58duqqq4ns")
