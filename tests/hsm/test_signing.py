"""What a healthy token does."""

import asyncio
import hashlib
import hmac
from dataclasses import replace

import pytest
from coincurve import PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyvault.core import limits
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.wrap import HASHES, wrap_secret
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, SignItem, TokenFault
from keyvault.hsm.verify import P256_ORDER, SECP256K1_ORDER
from tests.hsm.world import DIGEST, HMACS, PAIRS, SECRET, World, codes, make_key, running


def signature_of(result: Signature | TokenFault) -> Signature:
    assert isinstance(result, Signature), result
    return result


async def test_every_algorithm_passes_the_self_test(world: World) -> None:
    """A SoftHSM token can do every algorithm, and says so after signing with each."""
    async with running(world.config) as token:
        assert token.capabilities.algorithms == frozenset(KeyAlgorithm)
        assert token.capabilities.token_label == "hot"


async def test_secp256k1_signatures_are_low_s_and_recover_the_key(world: World) -> None:
    """Each secp256k1 signature has s in the lower half and a recovery id that gives the public key back."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.SECP256K1)
        results = [signature_of(one) for one in await token.lanes[0].sign([item] * 16)]
    for result in results:
        assert int.from_bytes(result.value[32:], "big") <= SECP256K1_ORDER // 2
        assert result.recovery_id in (0, 1)
        recovered = PublicKey.from_signature_and_message(result.value + bytes((result.recovery_id,)), DIGEST, None)
        assert recovered.format(compressed=False) == item.public_key


async def test_p256_signatures_are_low_s(world: World) -> None:
    """Each P-256 signature has s in the lower half and no recovery id."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        results = [signature_of(one) for one in await token.lanes[0].sign([item] * 16)]
    assert all(int.from_bytes(one.value[32:], "big") <= P256_ORDER // 2 for one in results)
    assert all(one.recovery_id is None for one in results)


async def test_ed25519_signs_messages_of_any_length(world: World) -> None:
    """Ed25519 signs the message itself, from nothing up to the longest payload."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.ED25519)
        messages = [b"", b"x", b"y" * limits.PAYLOAD_BYTES_MAX]
        results = await token.lanes[0].sign([replace(item, input=message) for message in messages])
    for message, result in zip(messages, results, strict=True):
        Ed25519PublicKey.from_public_bytes(item.public_key).verify(signature_of(result).value, message)


@pytest.mark.parametrize("algorithm", HMACS)
async def test_hmac_equals_hmac_of_the_original_secret(world: World, algorithm: KeyAlgorithm) -> None:
    """An imported secret of any length gives the HMACs that the exchange computes with it, for messages of any length.

    Lengths are one, around the hash, around its block, and far above.
    """
    messages = (b"", b"symbol=BTCUSDT", b"m" * 127, b"m" * 128, b"m" * limits.PAYLOAD_BYTES_MAX)
    async with running(world.config) as token:
        for size in (1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200):
            secret, name = bytes(range(size)), b"api-%d" % size
            await token.unwrap(name, algorithm, wrap_secret(world.created.import_public_key, secret, algorithm))
            item = SignItem(object_id=name, algorithm=algorithm, public_key=b"", input=b"")
            results = await token.lanes[0].sign([replace(item, input=message) for message in messages])
            expected = [hmac.digest(secret, message, HASHES[algorithm]) for message in messages]
            assert [signature_of(one).value for one in results] == expected, size


async def test_keys_of_both_hmacs_are_signed_with_in_one_batch(world: World) -> None:
    """The same secret imported for each HMAC gives each one's bytes, side by side, and neither's handle is taken."""
    async with running(world.config) as token:
        items = [await make_key(token, world, algorithm) for algorithm in HMACS] * 2
        results = await token.lanes[0].sign(items)
    expected = [hmac.digest(SECRET, DIGEST, HASHES[algorithm]) for algorithm in HMACS] * 2
    assert [signature_of(one).value for one in results] == expected


@pytest.mark.parametrize("algorithm", HMACS)
async def test_no_secret_is_generated(world: World, algorithm: KeyAlgorithm) -> None:
    """A secret that the venue does not have is of no use: it is refused, and the worker stays."""
    async with running(world.config) as token:
        with pytest.raises(TokenFault) as refusal:
            await token.generate(b"api", algorithm)
        assert (refusal.value.code, token.worker_starts) == ("NOT_GENERATED", 1)


async def test_the_full_batch_of_the_longest_payloads_fits(world: World) -> None:
    """TOKEN_BATCH_MAX payloads of PAYLOAD_BYTES_MAX are one message."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.HMAC_SHA256)
        batch = [replace(item, input=b"p" * limits.PAYLOAD_BYTES_MAX)] * limits.TOKEN_BATCH_MAX
        assert codes(await token.lanes[0].sign(batch)) == ["signed"] * limits.TOKEN_BATCH_MAX


@pytest.mark.parametrize("algorithm", PAIRS)
async def test_generating_twice_gives_the_same_key(world: World, algorithm: KeyAlgorithm) -> None:
    """A repeated generate finds the key, in the same worker and after a restart."""
    async with running(world.config) as token:
        first = await token.generate(b"again", algorithm)
        assert await token.generate(b"again", algorithm) == first
    async with running(world.config) as token:
        assert await token.generate(b"again", algorithm) == first


async def test_an_object_id_cannot_change_its_algorithm(world: World) -> None:
    """Generating under an id that holds another kind of key is refused and changes nothing."""
    async with running(world.config) as token:
        first = await token.generate(b"one", KeyAlgorithm.P256)
        with pytest.raises(TokenFault) as refusal:
            await token.generate(b"one", KeyAlgorithm.SECP256K1)
        assert refusal.value.code == "OBJECT_MISMATCH"
        assert await token.generate(b"one", KeyAlgorithm.P256) == first


async def test_bad_items_are_refused_alone(world: World) -> None:
    """An unknown key and a digest of 40 bytes are faults; the items beside them are signed; no worker is lost."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        batch = [item, replace(item, object_id=b"unknown"), replace(item, input=bytes(40)), item]
        results = await token.lanes[0].sign(batch)
        assert codes(results) == ["signed", "OBJECT_NOT_FOUND", "INPUT_SIZE", "signed"]
        assert token.worker_starts == 1


async def test_too_large_a_batch_is_refused(world: World) -> None:
    """More than TOKEN_BATCH_MAX items are refused before the worker sees them."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        results = await token.lanes[0].sign([item] * (limits.TOKEN_BATCH_MAX + 1))
    assert set(codes(results)) == {"BATCH_SIZE"}


async def test_the_log_key_signs(world: World) -> None:
    """The key that provisioning made signs checkpoints under the public key that it reported."""
    async with running(world.config) as token:
        item = SignItem(
            object_id=LOG_KEY_OBJECT_ID,
            algorithm=KeyAlgorithm.ED25519,
            public_key=world.created.log_public_key,
            input=b"checkpoint",
        )
        assert codes(await token.lanes[0].sign([item])) == ["signed"]


async def test_keys_made_by_one_worker_are_used_by_all(world: World) -> None:
    """A key that one worker generated is signed with at once by every lane of every worker."""
    async with running(replace(world.config, workers=2, lanes_per_worker=2)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        results = await asyncio.gather(*(lane.sign([item]) for lane in token.lanes))
    assert [codes(one) for one in results] == [["signed"]] * 4


async def test_a_cancelled_batch_does_not_disturb_the_lane(world: World) -> None:
    """A caller that gives up gets nothing; the next batch on the lane gets its own answer."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        given_up = asyncio.ensure_future(token.lanes[0].sign([item] * 32))
        await asyncio.sleep(0)
        given_up.cancel()
        other = replace(item, input=hashlib.sha256(b"other").digest())
        assert codes(await token.lanes[0].sign([other])) == ["signed"]
        assert given_up.cancelled()
        assert token.worker_starts == 1


async def test_a_closed_token_signs_nothing(world: World) -> None:
    """After close every batch is a fault and no worker is left."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        await token.close()
        assert codes(await token.lanes[0].sign([item])) == ["CLOSED"]
