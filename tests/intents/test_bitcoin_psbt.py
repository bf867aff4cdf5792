"""Bitcoin PSBTs: what signing one input means, change that is proven, and attacks."""

import hashlib
from dataclasses import replace

import coincurve
import pytest

from keyvault.core import limits
from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import bitcoin_psbt
from tests.intents.bitcoin_building import (
    OTHER,
    OWN,
    P2TR,
    SECRET,
    SIGNER,
    STRANGER,
    Coin,
    address,
    multisig,
    output,
    p2pkh,
    p2sh,
    p2wpkh,
    p2wsh,
    parse,
    payload,
    point,
    refusal,
    single,
    version_0,
    version_2,
)
from tests.intents.building import sign

THIRD = point(bytes.fromhex("48" * 32))
ME = p2wpkh(OWN)
COIN = Coin(ME)
SHARED = multisig(2, OWN, OTHER, THIRD)
SHARED_COIN = Coin(p2wsh(SHARED), pairs=[(b"\x05", SHARED)], salt=7)
STRANGER_ADDRESS = address(STRANGER)


def transfer(
    amount: int, destination: str, fee: int = 0, *, network: str = "bitcoin", source: str | None = None
) -> Effect:
    return Effect(
        operation=Operation.TRANSFER,
        network=network,
        destination=destination,
        amount=amount,
        fee_max=fee,
        source=source,
    )


def test_payment_states_everything() -> None:
    """A payment with change is one TRANSFER with the exact fee; the outpoints are the slot; no chain is bound."""
    psbt = version_0([COIN], [(60_000, STRANGER), (39_000, ME)])
    intent = parse(psbt)
    assert intent.effects == (transfer(60_000, STRANGER_ADDRESS, fee=1_000),)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert intent.binds == {Bound.BODY, Bound.ACCOUNT, Bound.NONCE}
    assert (intent.issued_at, intent.not_before, intent.expires_at, intent.stamped) == (None, None, None, False)
    assert intent.slot == "bitcoin:" + hashlib.sha256(COIN.outpoint).hexdigest()
    assert len(intent.signing_input) == 32


def test_both_versions_say_the_same() -> None:
    """The same transaction as PSBT of version 0 and of version 2 is the same intent."""
    coins = [replace(COIN, sequence=0xFFFFFFFD), replace(SHARED_COIN)]
    outputs = [(60_000, STRANGER), (100_000, ME)]
    for index in range(2):
        first = parse(version_0(coins, outputs, locktime=800_000), index)
        assert first == parse(version_2(coins, outputs, locktime=800_000), index)


@pytest.mark.parametrize(
    ("network", "name", "destination"),
    [
        (b"mainnet", "bitcoin", address(STRANGER)),
        (b"testnet", "bitcoin-testnet", address(STRANGER, "test")),
        (b"regtest", "bitcoin-regtest", address(STRANGER, "regtest")),
    ],
)
def test_network_changes_names_and_nothing_that_is_signed(network: bytes, name: str, destination: str) -> None:
    """A named network gives other addresses; the digest and the slot are equal, so the name proves nothing."""
    psbt = version_0([COIN], [(60_000, STRANGER)])
    intent, main = parse(psbt, network=network), parse(psbt)
    assert intent.effects == (transfer(60_000, destination, fee=40_000, network=name),)
    assert (intent.signing_input, intent.slot) == (main.signing_input, main.slot)
    assert Bound.CHAIN not in intent.binds


@pytest.mark.parametrize(
    ("coin", "own"),
    [
        (Coin(p2pkh(OWN)), True),
        (Coin(ME, witness_utxo=output(100_000, ME)), True),
        (Coin(p2sh(ME), pairs=[(b"\x04", ME)]), True),
        (Coin(p2wsh(single(OWN)), pairs=[(b"\x05", single(OWN))]), True),
        (Coin(p2wsh(SHARED), pairs=[(b"\x05", SHARED)], witness_utxo=output(100_000, p2wsh(SHARED))), False),
        (Coin(p2sh(p2wsh(SHARED)), pairs=[(b"\x04", p2wsh(SHARED)), (b"\x05", SHARED)]), False),
    ],
    ids=["P2PKH", "P2WPKH", "P2SH-P2WPKH", "P2WSH single", "P2WSH multisig", "P2SH-P2WSH multisig"],
)
def test_change_stays_under_the_same_control(coin: Coin, *, own: bool) -> None:
    """For our single key its three scripts are change, for a multisig input only its own script; the rest is paid."""
    outputs = [
        (10, p2pkh(OWN)),
        (20, ME),
        (30, p2sh(ME)),
        (40, STRANGER),
        (50, coin.script),
        (60, p2wsh(multisig(1, OWN))),
    ]
    amounts = [effect.amount for effect in parse(version_0([coin], outputs)).effects]
    assert amounts == ([40, 60] if own else [10, 20, 30, 40, 60])


def test_multisig_is_change_only_for_its_own_input() -> None:
    """Coins of our single key that go to a multisig beside it are paid to others: a 1-of-2 may be theirs."""
    script = multisig(1, OWN, OTHER)
    shared = Coin(p2wsh(script), amount=600, pairs=[(b"\x05", script)], salt=7)
    psbt = version_0([COIN, shared], [(100_000, p2wsh(script))])
    ours, theirs = parse(psbt, 0), parse(psbt, 1)
    destination = address(p2wsh(script))
    assert ours.effects == (transfer(100_000, destination, fee=600),)
    assert theirs.effects == (transfer(0, destination, fee=600, source=destination),)
    assert ours.slot == theirs.slot


def test_claims_of_derivation_prove_no_change() -> None:
    """A39: an output that its BIP-32 path and an extended key call ours, and whose script is not, is a TRANSFER."""
    xpub = bytes.fromhex("0488b21e") + b"\x02" + bytes(40) + OWN
    claims = [(b"\x02" + OWN, b"\xd9\x0c\x6a\x4f" + bytes(8)), (b"\x02" + OTHER, b"\xd9\x0c\x6a\x4f" + bytes(8))]
    top = [(b"\x01" + xpub, b"\xd9\x0c\x6a\x4f" + bytes(8))]
    psbt = version_0([COIN], [(90_000, STRANGER)], top=top, out=claims)
    assert parse(psbt).effects == (transfer(90_000, STRANGER_ADDRESS, fee=10_000),)


def test_everything_to_ourselves() -> None:
    """If all outputs are change there is one TRANSFER of nothing to our own address, and it carries the fee."""
    coins = [Coin(ME, salt=1), Coin(p2pkh(OWN), salt=2)]
    psbt = version_0(coins, [(97_000, ME), (100_000, p2pkh(OWN))])
    for index in range(2):
        intent = parse(psbt, index)
        assert intent.effects == (transfer(0, address(ME), fee=3_000),)
        assert intent.completeness is Completeness.FULL


def test_burning_coins_as_fee_shows() -> None:
    """A31: a transaction that leaves 99 percent to the miner says so, also where its only output is a message."""
    coin = Coin(ME, amount=10**8)
    assert parse(version_0([coin], [(10**6, STRANGER)])).effects == (transfer(10**6, STRANGER_ADDRESS, 99 * 10**6),)
    message = Effect(operation=Operation.MESSAGE, network="bitcoin", amount=0, fee_max=0)
    assert parse(version_0([coin], [(0, b"\x6a")])).effects == (transfer(0, address(ME), fee=10**8), message)


def test_inputs_and_outputs_up_to_all_coins() -> None:
    """Inputs of all the coins that there can be may be spent without a fee; inputs of one more are refused."""
    most = 21 * 10**14
    psbt = version_0([Coin(ME, amount=most)], [(most, STRANGER)])
    assert parse(psbt).effects == (transfer(most, STRANGER_ADDRESS),)
    more = version_0([Coin(ME, amount=most), Coin(ME, amount=1, salt=2)], [(most, STRANGER)])
    assert refusal(more)[1].endswith("or its inputs more than all coins")


def test_altered_destination_shows() -> None:
    """A11: a payment whose output was altered on its way has another destination, digest, and the same slot."""
    good = parse(version_0([COIN], [(99_000, p2wpkh(THIRD))]))
    evil = parse(version_0([COIN], [(99_000, STRANGER)]))
    assert evil.effects == (transfer(99_000, STRANGER_ADDRESS, fee=1_000),)
    assert good.effects != evil.effects
    assert good.signing_input != evil.signing_input
    assert good.slot == evil.slot


def test_foreign_inputs_pay_and_are_counted() -> None:
    """Inputs of others are proven like ours and count for the fee; amounts are those of the outputs, whoever pays."""
    foreign = Coin(P2TR, amount=50_000, salt=9, witness=True, index=3)
    psbt = version_0([foreign, COIN], [(80_000, STRANGER), (60_000, p2wpkh(THIRD)), (9_000, ME)])
    effects = parse(psbt, 1).effects
    assert [(e.amount, e.fee_max, e.source) for e in effects] == [(80_000, 1_000, None), (60_000, 0, None)]
    assert refusal(psbt, 0)[1].startswith("is P2TR")


def test_multisig_names_whose_coins_they_are() -> None:
    """A payment out of a multisig has the multisig's address as its source."""
    source = address(p2wsh(SHARED))
    effects = parse(version_0([SHARED_COIN], [(99_000, STRANGER), (5, b"\x51")])).effects
    assert effects[0] == transfer(99_000, STRANGER_ADDRESS, fee=995, source=source)
    assert effects[1].source == source


@pytest.mark.parametrize(
    ("amount", "script", "operation", "completeness"),
    [
        (0, b"\x6a\x04memo", Operation.MESSAGE, Completeness.PARTIAL),
        (1, b"\x6a\x04memo", Operation.OPAQUE, Completeness.OPAQUE),
        (500, b"\x51", Operation.OPAQUE, Completeness.OPAQUE),
        (500, b"", Operation.OPAQUE, Completeness.OPAQUE),
        (500, single(OTHER), Operation.OPAQUE, Completeness.OPAQUE),
        (500, multisig(1, OTHER), Operation.OPAQUE, Completeness.OPAQUE),
        (500, b"\x52\x20" + bytes(32), Operation.OPAQUE, Completeness.OPAQUE),
        (500, b"\x51\x02\x4e\x73", Operation.OPAQUE, Completeness.OPAQUE),
        (500, b"\x00\x20" + bytes(31), Operation.OPAQUE, Completeness.OPAQUE),
    ],
)
def test_outputs_without_address(amount: int, script: bytes, operation: Operation, completeness: Completeness) -> None:
    """Data without coins is a MESSAGE; any script without an address is OPAQUE and states its amount; none hides."""
    intent = parse(version_0([COIN], [(amount, script), (90_000, STRANGER)]))
    lone = Effect(operation=operation, network="bitcoin", amount=amount, fee_max=0)
    fee = 10_000 - amount
    if operation is Operation.MESSAGE:
        assert intent.effects == (transfer(90_000, STRANGER_ADDRESS, fee=fee), lone)
    else:
        assert intent.effects == (replace(lone, fee_max=fee), transfer(90_000, STRANGER_ADDRESS))
    assert intent.completeness is completeness


@pytest.mark.parametrize(
    ("locktime", "sequence", "not_before"),
    [
        (1_700_000_000, 0xFFFFFFFE, 1_700_000_000_000),
        (500_000_000, 0, 500_000_000_000),
        (1_700_000_000, 0xFFFFFFFF, None),
        (499_999_999, 0, None),
        (0, 0, None),
    ],
)
def test_lock_time(locktime: int, sequence: int, not_before: int | None) -> None:
    """A lock time that is a time and that some input enforces is when the signature begins to be worth something."""
    coins = [Coin(ME, salt=1), Coin(ME, salt=2, sequence=sequence)]
    assert parse(version_0(coins, [(1_000, STRANGER)], locktime=locktime)).not_before == not_before


def test_slot_is_the_set_of_outpoints() -> None:
    """Order, outputs, lock time and input do not change the slot; another outpoint does."""
    one, two, three = (Coin(ME, salt=salt) for salt in (1, 2, 3))
    slots = {
        parse(version_0([one, two], [(1_000, STRANGER)]), 0).slot,
        parse(version_0([two, one], [(2_000, P2TR)], locktime=5), 1).slot,
        parse(version_2([two, one], [(2_000, P2TR)]), 1).slot,
    }
    assert len(slots) == 1
    assert parse(version_0([one, three], [(1_000, STRANGER)])).slot not in slots
    assert parse(version_0([one], [(1_000, STRANGER)])).slot not in slots


def test_effects_are_bounded() -> None:
    """As many outputs as there may be effects are judged, one more is refused; change does not count."""
    paid = [(100, STRANGER)] * limits.EFFECTS_MAX
    assert len(parse(version_0([COIN], [*paid, (100, ME)])).effects) == limits.EFFECTS_MAX
    assert refusal(version_0([COIN], [*paid, (0, b"\x6a")])) == (
        "",
        "has more than 64 effects: outputs that are not change",
    )


def test_assembled_signature_is_der_with_its_type() -> None:
    """The output is the value of PSBT_IN_PARTIAL_SIG: DER and the byte of SIGHASH_ALL."""
    psbt = version_0([COIN], [(60_000, STRANGER)])
    signature = sign(parse(psbt).signing_input, SECRET)
    made = bitcoin_psbt.assemble(payload(psbt), SIGNER, signature)
    assert (made.transaction_hash, made.path, made.query, made.headers, made.body, made.message) == (
        b"", "", "", (), "", "",
    )  # fmt: skip
    key = coincurve.PublicKey(OWN)
    assert made.raw[-1:] == b"\x01"
    assert key.verify(made.raw[:-1], parse(psbt).signing_input, hasher=None)


@pytest.mark.parametrize(
    "signature",
    [
        Signature(value=b"\1" * 64),
        Signature(value=b"\1" * 63, recovery_id=0),
        Signature(value=bytes(64), recovery_id=0),
        Signature(value=b"\1" * 32 + b"\x7f" + b"\xff" * 31, recovery_id=0),
    ],
    ids=["no recovery id", "short", "zero", "high s"],
)
def test_unfit_signature_is_broken(signature: Signature) -> None:
    """A signature that no secp256k1 token returns, or that the network would not relay, is never handed out."""
    with pytest.raises(Broken):
        bitcoin_psbt.assemble(payload(version_0([COIN], [(1, STRANGER)])), SIGNER, signature)
