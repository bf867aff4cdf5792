"""From signatures to a network transaction: combining and finalising, against embit."""

from dataclasses import replace

import coincurve
import pytest

from keyvault.core.errors import Malformed
from keyvault.intents import bitcoin_psbt
from keyvault.intents.bitcoin_psbt import combine, finalise
from tests.intents.bitcoin_building import (
    OTHER,
    OTHER_SECRET,
    OWN,
    SECRET,
    SIGNER,
    STRANGER,
    Coin,
    finalised_by_embit,
    multisig,
    output,
    p2pkh,
    p2sh,
    p2wpkh,
    p2wsh,
    parse,
    payload,
    point,
    read_by_embit,
    version_0,
    version_2,
)
from tests.intents.building import sign

ME = p2wpkh(OWN)
COINS = [
    Coin(ME, salt=1, witness_utxo=output(100_000, ME)),
    Coin(p2pkh(OWN), salt=2, witness=True),
    Coin(p2sh(ME), salt=3, pairs=[(b"\x04", ME)], sequence=5),
]
PAY = [(60_000, STRANGER), (200_000, ME)]
KEY = SIGNER.public_key


def signatures(psbt: bytes, *indexes: int) -> dict[int, bytes]:
    """Return what assemble gives for some inputs."""
    return {
        index: bitcoin_psbt.assemble(payload(psbt, index), SIGNER, sign(parse(psbt, index).signing_input, SECRET)).raw
        for index in indexes
    }


@pytest.mark.parametrize("write", [version_0, version_2])
def test_signed_finalised_and_extracted(write: object) -> None:
    """The signatures of all inputs make the very transaction that embit finalises from the combined PSBT."""
    psbt = version_0(COINS, PAY, locktime=9) if write is version_0 else version_2(COINS, PAY, locktime=9)
    combined = combine(psbt, signatures(psbt, 0, 1, 2), KEY)
    transaction = finalise(combined)
    assert transaction == finalised_by_embit(combined)
    assert transaction[4:6] == b"\0\x01"
    assert len(read_by_embit(combined).inputs[1].partial_sigs) == 1


def test_legacy_only_has_no_witnesses() -> None:
    """A transaction of P2PKH inputs alone is in the form without witnesses."""
    psbt = version_0([COINS[1]], [(1, STRANGER)])
    transaction = finalise(combine(psbt, signatures(psbt, 0), KEY))
    assert transaction == finalised_by_embit(combine(psbt, signatures(psbt, 0), KEY))
    assert transaction[4:5] == b"\x01"


def test_combining_adds_one_pair_and_changes_nothing_else() -> None:
    """The signature stands under our compressed key, in the order of keys; all other bytes stay, one step at a time."""
    psbt = version_0(COINS, PAY, out=[(b"\x7f", b"kept")])
    made = signatures(psbt, 0, 1, 2)
    step = combine(psbt, {1: made[1]}, KEY)
    pair = bytes((34,)) + b"\x02" + OWN + bytes((len(made[1]),)) + made[1]
    assert step.count(pair) == 1
    assert step.replace(pair, b"") == psbt
    assert combine(step, {0: made[0], 2: made[2]}, KEY) == combine(psbt, made, KEY)
    assert combine(step, {1: made[1]}, KEY) == step
    assert combine(psbt, {}, KEY) == psbt
    assert parse(step, 0).signing_input == parse(psbt, 0).signing_input


def test_multisig_collects_signatures() -> None:
    """Two members combine into one PSBT in either order; finalising it is left to a wallet."""
    script = multisig(2, OWN, OTHER)
    psbt = version_0([Coin(p2wsh(script), pairs=[(b"\x05", script)])], [(1, STRANGER)])
    other = replace(SIGNER, public_key=point(OTHER_SECRET, compressed=False))
    theirs = sign(parse(psbt, signer=other).signing_input, OTHER_SECRET)
    second = {0: bitcoin_psbt.assemble(payload(psbt), other, theirs).raw}
    one = combine(combine(psbt, signatures(psbt, 0), KEY), second, other.public_key)
    assert one == combine(combine(psbt, second, other.public_key), signatures(psbt, 0), KEY)
    assert finalised_by_embit(one)
    with pytest.raises(Malformed, match="only such inputs are finalised here"):
        finalise(one)


def _refused(psbt: bytes, made: dict[int, bytes], key: bytes = KEY) -> str:
    with pytest.raises(Malformed) as caught:
        combine(psbt, made, key)
    return str(caught.value)


def test_combining_verifies() -> None:
    """A signature for another input, key, type or PSBT, a broken one, and a second one of the same key are refused."""
    psbt = version_0(COINS, PAY)
    made = signatures(psbt, 0, 1)
    wrong = "bitcoin_psbt.inputs[0].partial_sig: is not a SIGHASH_ALL signature of that key for this input"
    high = coincurve.PrivateKey(SECRET).sign(b"\1" * 32, hasher=None)
    for bad in (made[1], made[0][:-1] + b"\x02", made[0][:-1], made[0][1:], b"", b"\x01", high + b"\x01"):
        assert _refused(psbt, {0: bad}) == wrong
    assert _refused(version_0(COINS, PAY, locktime=1), {0: made[0]}) == wrong
    other = point(OTHER_SECRET, compressed=False)
    assert "is not ours" in _refused(psbt, {0: made[0]}, other)
    for index in (3, -1):
        assert "there is no such input" in _refused(psbt, {index: made[0]})
    again = version_0([replace(COINS[0], pairs=[(b"\x02" + OWN, bytes(70))]), *COINS[1:]], PAY)
    assert "another signature of this key" in _refused(again, {0: made[0]})


def test_finalising_needs_every_signature() -> None:
    """A missing or wrong signature, or another type of signature, makes no transaction."""
    psbt = version_0(COINS, PAY)
    made = signatures(psbt, 0, 1, 2)
    with pytest.raises(Malformed, match=r"inputs\[1\].partial_sig: is missing"):
        finalise(combine(psbt, {0: made[0]}, KEY))
    for place, coin in enumerate(COINS):
        wrong = [replace(coin, pairs=[(b"\x02" + OWN, made[(place + 1) % 3]), *coin.pairs])]
        with pytest.raises(Malformed, match="is not a SIGHASH_ALL signature"):
            finalise(version_0(wrong, PAY[:1]))
    none = replace(COINS[1], pairs=[(b"\x03", b"\x02\0\0\0")])
    with pytest.raises(Malformed, match="sighash_type: is not SIGHASH_ALL"):
        finalise(version_0([none], PAY[:1]))


def test_foreign_final_inputs_are_kept() -> None:
    """What somebody else finalised goes into the transaction as it stands."""
    final = Coin(STRANGER, salt=9, pairs=[(b"\x08", b"\x01\x03abc")])
    psbt = version_0([COINS[1], final], PAY[:1])
    transaction = finalise(combine(psbt, signatures(psbt, 0), KEY))
    assert transaction[-10:] == b"\0" + b"\x01\x03abc" + bytes(4)


def test_many_inputs_fit_after_signing() -> None:
    """A PSBT that is nearly as long as a payload may be is still combined and finalised."""
    coins = [Coin(ME, salt=salt) for salt in range(1, 170)]
    psbt = version_0(coins, [(1, STRANGER)])
    assert 20_000 < len(psbt) < 24_576
    combined = combine(psbt, signatures(psbt, *range(169)), KEY)
    assert len(combined) > 30_000
    assert finalise(combined) == finalised_by_embit(combined)
