"""Hyperliquid's L1 actions against msgpack and eth-account: random actions, mutations, and noise."""

import json
import random

import msgpack  # type: ignore[import-untyped] # no types are published
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Payload, PayloadKind
from keyvault.intents import hyperliquid, keccak256
from tests.intents.building import digest_by_eth_account, sign
from tests.intents.hyperliquid_building import payload, random_action, read, stamped
from tests.intents.typed_building import SIGNER, document


@pytest.mark.parametrize("seed", range(4))
def test_digests_of_random_actions(seed: int) -> None:
    """2,500 random actions have the digest of the recipe with msgpack-python; every 20th also eth-account's."""
    chance = random.Random(seed)  # noqa: S311 - test data
    agent = "Agent(string source,bytes32 connectionId)"
    domain = {"name": "Exchange", "version": "1", "chainId": 1337, "verifyingContract": "0x" + "00" * 20}
    for index in range(2_500):
        action, nonce = random_action(chance), chance.randrange(2**41)
        vault = chance.choice(["", "0x" + chance.randbytes(20).hex()])
        end = chance.choice(["", str(chance.randrange(1, 2**41))])
        intent = hyperliquid.parse(payload(action, vault, end), stamped(nonce))
        recipe = msgpack.packb(action) + nonce.to_bytes(8, "big")
        recipe += b"\1" + bytes.fromhex(vault[2:]) if vault else b"\0"
        recipe += b"\0" + int(end).to_bytes(8, "big") if end else b""
        assert hyperliquid.connection_id(action, nonce, vault or None, int(end) if end else None) == keccak256(recipe)
        pays = action.get("builder", {}).get("f", 0) > 0
        assert intent.completeness is (Completeness.PARTIAL if pays else Completeness.FULL), action
        if index % 20 == 0:
            message = {"source": "a", "connectionId": "0x" + keccak256(recipe).hex()}
            assert intent.signing_input == digest_by_eth_account(document(agent, message, domain))


_CHANCE = random.Random(2)  # noqa: S311 - test data
SAMPLES = [json.dumps(random_action(_CHANCE)) for _ in range(60)]
TOKENS = ["", "0", "-1", '"', '"1"', "null", "true", "{}", "[]", ",", "}", "\\u0000", "0x", " ", "1.0", "9" * 30]


@settings(max_examples=500)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(TOKENS)), min_size=1, max_size=3),
)
def test_mutations_are_malformed_or_hash_what_they_say(sample: str, changes: list[tuple[float, int, str]]) -> None:
    """A changed action is refused, or its digest is that of the JSON which a lax reader sees."""
    for place, length, token in changes:
        start = int(place * len(sample))
        sample = sample[:start] + token + sample[start + length :]
    parts = (sample.encode(), b"", b"", b"mainnet")
    try:
        intent = hyperliquid.parse(Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=parts), SIGNER)
    except Malformed:
        return
    seen = json.loads(sample)
    assert json.loads(hyperliquid.assemble(payload(seen), SIGNER, sign(intent.signing_input)).body)["action"] == seen
    assert intent.signing_input == read(seen).signing_input


@given(st.lists(st.binary(max_size=60), min_size=4, max_size=4))
def test_bytes_are_malformed(parts: list[bytes]) -> None:
    """Arbitrary bytes never crash the decoder."""
    with pytest.raises(Malformed):
        hyperliquid.parse(Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=tuple(parts)), SIGNER)
