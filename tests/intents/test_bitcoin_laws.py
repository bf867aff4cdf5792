"""Bitcoin PSBTs against embit, which reads and hashes the same bytes in its own way, and against hostile bytes."""

import random
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.core.intent import Effect, Operation
from keyvault.intents import bitcoin_psbt, psbt, psbt_keys
from keyvault.intents.bitcoin_address import NETWORKS as NAMES
from keyvault.intents.bitcoin_address import address
from keyvault.intents.bitcoin_combine import encode_signature
from tests.intents.bitcoin_building import (
    OTHER,
    OWN,
    P2TR,
    SIGNER,
    STRANGER,
    Coin,
    Pairs,
    der_by_embit,
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
    serialised,
    single,
    version_0,
    version_2,
)
from tests.intents.bitcoin_building import address as written

Fact = tuple[Operation, int, str | None]

ME = p2wpkh(OWN)
OWN_SCRIPTS = (ME, p2pkh(OWN), p2sh(ME))
STRANGERS = [point(bytes((n,)) * 32) for n in range(1, 20)]
EMBIT_NETWORKS = {b"mainnet": "main", b"testnet": "test", b"regtest": "regtest"}
PSBTS = 4_000
"""They have some 2.5 inputs of ours each: more than 10,000 payloads."""


def _coin(dice: random.Random, salt: int) -> tuple[Coin, bool]:
    """Return an input, and whether it is ours."""
    keys = [OWN, *dice.sample(STRANGERS, dice.randrange(5))]
    dice.shuffle(keys)
    witness = single(OWN) if dice.random() < 0.2 else multisig(dice.randint(1, len(keys)), *keys)
    nested = p2wsh(witness)
    kinds: list[tuple[bytes, Pairs, bool]] = [
        (p2pkh(OWN), [], True),
        (ME, [], True),
        (p2sh(ME), [(b"\x04", ME)], True),
        (nested, [(b"\x05", witness)], True),
        (p2sh(nested), [(b"\x04", nested), (b"\x05", witness)], True),
        (dice.choice((STRANGER, P2TR, p2pkh(OTHER))), [], False),
    ]
    script, pairs, ours = dice.choice(kinds)
    amount = dice.choice((1, 546, 10**8, dice.randint(1, 10**12)))
    segwit = ours and script != p2pkh(OWN)
    coin = Coin(
        script,
        amount=amount,
        pairs=[*([(b"\x03", b"\x01\0\0\0")] if ours and dice.random() < 0.3 else []), *pairs],
        sequence=dice.choice((0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 1, dice.getrandbits(32))),
        salt=salt,
        index=dice.randrange(3),
        witness=dice.random() < 0.5,
        witness_utxo=output(amount, script) if segwit and dice.random() < 0.5 else None,
    )
    return coin, ours


def _outputs(dice: random.Random, coins: list[Coin]) -> list[tuple[int, bytes]]:
    left = sum(coin.amount for coin in coins)
    outputs = []
    for _ in range(dice.choice((1, 1, 2, 2, 3, 10))):
        amount = dice.randint(0, left)
        left -= amount
        key = dice.choice(STRANGERS)
        scripts = (
            ME, p2pkh(OWN), p2sh(ME), coins[0].script, p2wpkh(key), p2pkh(key), p2wsh(key), p2sh(key),
            b"\x51\x20" + key[1:], b"\x6a" + key, key, b"",
        )  # fmt: skip
        outputs.append((amount, dice.choice(scripts)))
    return outputs


def _expected(scope: Any, outputs: Any, network: str) -> list[Fact]:  # noqa: ANN401  embit has no types
    """Return operation, amount and address of each output that is no change, as embit's objects show it."""
    witness = scope.witness_script.data if scope.witness_script else b""
    change = {scope.script_pubkey.data, *(() if witness[-1:] == b"\xae" else OWN_SCRIPTS)}
    found = []
    for paid in outputs:
        if paid.script_pubkey.data in change:
            continue
        known = paid.script_pubkey.script_type() is not None
        message = paid.value == 0 and paid.script_pubkey.data[:1] == b"\x6a"
        operation = Operation.TRANSFER if known else Operation.MESSAGE if message else Operation.OPAQUE
        found.append((operation, paid.value, written(paid.script_pubkey.data, network) if known else None))
    return sorted(found, key=lambda fact: fact[0] is Operation.MESSAGE)


def _check(data: bytes, indexes: list[int], network: bytes) -> int:
    oracle = read_by_embit(data)
    assert oracle.verify()
    outputs, fee = oracle.tx.vout, oracle.fee()
    for index in indexes:
        intent = parse(data, index, network)
        assert intent.signing_input == oracle.sighash(index)
        facts = [(e.operation, e.amount, e.destination) for e in intent.effects]
        expected = _expected(oracle.inputs[index], outputs, EMBIT_NETWORKS[network])
        assert facts[-len(expected) :] == expected or not expected
        assert [e.fee_max for e in intent.effects] == [fee, *[0] * (len(facts) - 1)]
        moved = sum(1 for operation, _, _ in expected if operation is not Operation.MESSAGE)
        assert len(facts) == len(expected) + (not moved)
    return len(indexes)


def test_embit_reads_and_hashes_the_same() -> None:
    """For 10,000 requests the digest, the fee, the change and every destination are those that embit finds."""
    dice = random.Random(20_261_126)  # noqa: S311 - the same PSBTs every time
    payloads = 0
    for number in range(PSBTS):
        made = [_coin(dice, number * 8 + place) for place in range(dice.choice((1, 1, 2, 3, 5, 7)))]
        coins = [coin for coin, _ in made]
        outputs = _outputs(dice, coins)
        locktime = dice.choice((0, 800_000, 1_700_000_000))
        write = version_2 if number % 2 else version_0
        data = write(coins, outputs, locktime=locktime)
        network = dice.choice(list(EMBIT_NETWORKS))
        payloads += _check(data, [place for place, (_, ours) in enumerate(made) if ours], network)
    assert payloads > 10_000


@given(st.binary(min_size=32, max_size=32), st.sampled_from(sorted(EMBIT_NETWORKS)))
def test_addresses_are_those_of_embit(data: bytes, network: bytes) -> None:
    """Every kind of script with an address has the address that embit writes."""
    heads = ((b"\x76\xa9\x14", 20, b"\x88\xac"), (b"\xa9\x14", 20, b"\x87"), (b"\0\x14", 20, b""), (b"\0\x20", 32, b""))
    for head, size, tail in (*heads, (b"\x51\x20", 32, b"")):
        script = head + data[:size] + tail
        assert address(script, NAMES[network]) == written(script, EMBIT_NETWORKS[network])


@given(st.integers(1, 2**256), st.integers(1, 2**255))
def test_signatures_are_encoded_as_in_embit(r: int, s: int) -> None:
    """DER of r and s is what embit writes, whatever their highest bits are."""
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    r, s = r % (order - 1) + 1, s % (order // 2) + 1
    assert encode_signature(r, s) == der_by_embit(r, s) + b"\x01"


SHARED = multisig(2, OWN, OTHER)
SAMPLES = [
    version_0([Coin(ME, witness_utxo=output(100_000, ME))], [(60_000, STRANGER), (39_000, ME)]),
    version_0([Coin(p2pkh(OWN)), Coin(STRANGER, salt=2, witness=True)], [(60_000, P2TR), (0, b"\x6amemo")], locktime=5),
    version_0([Coin(p2sh(p2wsh(SHARED)), pairs=[(b"\x04", p2wsh(SHARED)), (b"\x05", SHARED)])], [(9, STRANGER)]),
    version_2([Coin(ME, sequence=1), Coin(P2TR, salt=2)], [(60_000, STRANGER)], locktime=1_700_000_000),
]
CHANGES = st.lists(
    st.tuples(st.integers(0, 2_000), st.sampled_from("=+-^"), st.integers(0, 255)), min_size=1, max_size=3
)


def _facts(effects: tuple[Effect, ...]) -> list[tuple[int | None, str | None]]:
    return [(effect.amount, effect.destination) for effect in effects if effect.amount]


@settings(max_examples=1_500)
@given(st.sampled_from(SAMPLES), CHANGES)
def test_mutations_are_malformed_or_mean_what_embit_reads(data: bytes, changes: list[tuple[int, str, int]]) -> None:
    """A changed PSBT is refused, or its digest and fee are what embit makes of the changed bytes."""
    for place, how, byte in changes:
        at = place % (len(data) + 1)
        middle = {
            "=": bytes((byte,)),
            "+": bytes((byte,)),
            "-": b"",
            "^": bytes(b ^ 1 << byte % 8 for b in data[at : at + 1]),
        }
        data = data[:at] + middle[how] + data[at + (how != "+") :]
    try:
        intent = parse(data)
    except Malformed:
        return
    oracle = read_by_embit(data)
    assert oracle.verify()
    assert intent.signing_input == oracle.sighash(0)
    assert intent.effects[0].fee_max == oracle.fee()
    parsed = psbt.read(data)
    assert psbt.encode(parsed.top, parsed.inputs, parsed.outputs) == data


@settings(max_examples=500)
@given(st.binary(max_size=200), st.binary(max_size=4), st.binary(max_size=8))
def test_noise_is_malformed(data: bytes, index: bytes, network: bytes) -> None:
    """Random bytes, alone or as a PSBT, a map, a transaction or a spent transaction, raise only Malformed."""
    inside = [(b"\x00", data)]
    for noise in (
        data,
        b"psbt\xff" + data,
        b"psbt\xff" + serialised(inside) + data,
        version_0([Coin(ME, non_witness=False, pairs=inside)], [(1, STRANGER)]),
        version_0([Coin(p2wsh(data), pairs=[(b"\x05", data)])], [(1, STRANGER)]),
    ):
        for number, word in ((b"0", b"mainnet"), (index, network)):
            with suppress(Malformed):
                bitcoin_psbt.parse(payload(noise, number, word), SIGNER)
    with suppress(Malformed):
        parse(version_0([Coin(ME)], [(1, data)]))


@given(st.lists(st.tuples(st.sampled_from(sorted(psbt_keys.INPUT)), st.binary(max_size=70), st.binary(max_size=80))))
def test_entries_are_malformed_or_kept(entries: list[tuple[int, bytes, bytes]]) -> None:
    """Keys and values of known types with any content are refused, or come out as they went in."""
    pairs = [(bytes((kind,)) + key, value) for kind, key, value in entries]
    data = version_0([Coin(ME), Coin(STRANGER, salt=2, pairs=pairs)], [(1, STRANGER)], out=pairs)
    try:
        parsed = psbt.read(data)
    except Malformed:
        return
    assert list(parsed.inputs[1].items())[1:] == pairs
    assert psbt.encode(parsed.top, parsed.inputs, parsed.outputs) == data
