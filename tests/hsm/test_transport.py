"""The same keys in several tokens: AES-KWP under a wrapping key that the tokens share."""

import hashlib
import hmac
import shutil
from dataclasses import replace

import pytest

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyTransport
from keyvault.core.limits import WRAPPED_KEY_BYTES_MAX, WRAPPED_KEY_BYTES_MIN
from keyvault.core.wrap import HASHES, wrap_secret
from keyvault.hsm.base import (
    IMPORT_KEY_OBJECT_ID,
    LOG_KEY_OBJECT_ID,
    TRANSPORT_KEY_OBJECT_ID,
    WRAPPING_KEY_OBJECT_ID,
    SignItem,
    TokenFault,
)
from tests.hsm.moving import (
    MOVED,
    Moved,
    all_running,
    flipped,
    join,
    kwp,
    moved,
    objects,
    refused,
    signature,
)
from tests.hsm.world import DIGEST, HMACS, PAIRS, SECRET, SHA256, World, codes, make_key, running

CHALLENGE = bytes(range(32, 64))
ED25519 = KeyAlgorithm.ED25519

Worlds = tuple[World, ...]


async def code_of(refusal: object) -> str:
    """Return the code of the fault with which a call ends."""
    with pytest.raises(TokenFault) as fault:
        await refusal  # type: ignore[misc]  # any call
    return fault.value.code


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
async def test_a_key_made_in_one_token_signs_in_the_others(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """Copied to two tokens a key signs in all three under the same public key; HMACs are equal."""
    async with all_running(*joined) as tokens:
        key = await moved(tokens[0], joined[0], algorithm)
        for token in tokens[1:]:
            await key.into(token)
        signatures = {await signature(token, key.item) for token in tokens}
        proofs = {
            (await token.prove(key.item.object_id, algorithm, key.item.public_key, CHALLENGE)).value for token in tokens
        }
        assert [token.worker_starts for token in tokens] == [1, 1, 1]
    deterministic = algorithm in HMAC_ALGORITHMS or algorithm is ED25519
    assert len(signatures) == len(proofs) == (1 if deterministic else 3)
    assert not signatures & proofs
    if algorithm is SHA256:
        assert signatures == {hmac.digest(SECRET + b"key", DIGEST, hashlib.sha256)}


@pytest.mark.parametrize("size", [1, 31, 33, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("algorithm", HMACS)
async def test_secrets_of_any_length_are_moved(joined: Worlds, algorithm: KeyAlgorithm, size: int) -> None:
    """Whatever a token does to a secret's length, the HMACs stay those of the secret."""
    secret = bytes(range(1, size + 1))
    item = SignItem(object_id=b"k", algorithm=algorithm, public_key=b"", input=DIGEST)
    async with all_running(joined[0], joined[1]) as (token, other):
        await token.unwrap(b"k", algorithm, wrap_secret(joined[0].created.import_public_key, secret, algorithm))
        blob = await token.wrap(b"k", algorithm)
        await other.unwrap_copy(b"k", algorithm, blob, await token.key_check(b"k", algorithm))
        assert await signature(other, item) == hmac.digest(secret, DIGEST, HASHES[algorithm])


async def test_losing_a_token_loses_nothing(joined: Worlds, apart: Worlds) -> None:
    """The token that made all keys is gone with its folder: the second signs with all, and a third joins from it."""
    first, second, _ = joined
    third = apart[2]
    async with all_running(first, second) as (gone, left):
        keys = [await moved(gone, first, algorithm) for algorithm in KeyAlgorithm]
        for key in keys:
            await key.into(left)
    shutil.rmtree(first.folder)
    async with all_running(second, third) as (left, newcomer):
        for key in keys:
            await signature(left, key.item)
        await join(left, newcomer)
        for key in keys:
            again = replace(key, blob=await left.wrap(key.item.object_id, key.item.algorithm))
            assert again.blob == key.blob
            await again.into(newcomer)
            await signature(newcomer, key.item)


async def test_a_standby_may_use_the_blob_from_before(joined: Worlds) -> None:
    """A blob that was kept opens after every process was restarted, in a token that never met the first one again."""
    first, second, _ = joined
    async with all_running(first) as (token,):
        keys = [await moved(token, first, algorithm) for algorithm in MOVED]
    async with all_running(second) as (token,):
        for key in keys:
            await key.into(token)
    async with all_running(second) as (token,):
        for key in keys:
            await signature(token, key.item)


@pytest.mark.parametrize("algorithm", MOVED)
async def test_a_second_import_changes_nothing(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """Into the token that has it, also the one that made it, a key comes again without a new object."""
    first, second, _ = joined
    async with all_running(first, second) as tokens:
        key = await moved(tokens[0], first, algorithm)
        await key.into(tokens[1])
        before = objects(first), objects(second)
        for token in tokens:
            await key.into(token)
            await signature(token, key.item)
        assert (objects(first), objects(second)) == before


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.P256, ED25519])
async def test_a_copy_is_destroyed_like_any_key(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """Destroyed in one token, a key leaves nothing there, signs in the other, and can be brought back from it."""
    first, second, _ = joined
    before = objects(first)
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, algorithm)
        await key.into(other)
        await token.destroy(key.item.object_id, algorithm)
        assert objects(first) == before
        assert codes(await token.lanes[0].sign([key.item])) == ["OBJECT_NOT_FOUND"]
        await signature(other, key.item)
        await key.into(token)
        await signature(token, key.item)


# What is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", MOVED)
async def test_a_blob_that_is_not_the_key_is_refused(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """A flipped bit, a blob cut or grown, or of another key: nothing is stored, and then the true one comes."""
    first, second, _ = joined
    before = objects(second)
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, algorithm)
        another = await moved(token, first, algorithm, b"another")
        for position in (0, 7, 8, len(key.blob) // 2, -1):
            assert await refused(other, key, blob=flipped(key.blob, position)) == "UNWRAP_REFUSED"
        for blob in (key.blob[:-8], key.blob + bytes(8), key.blob + key.blob[:8], key.blob[:-1], key.blob + b"\0"):
            assert await refused(other, key, blob=blob) in {"UNWRAP_REFUSED", "WRAPPED_SIZE", "UNSUPPORTED_TRANSPORT"}
        assert await refused(other, key, blob=another.blob) == "COPY_NOT_PROVEN"
        assert await refused(other, key, identity=another.identity) == "COPY_NOT_PROVEN"
        assert objects(second) == before
        assert codes(await other.lanes[0].sign([key.item])) == ["OBJECT_NOT_FOUND"]
        assert other.worker_starts == 1
        await key.into(other)
        await signature(other, key.item)


@pytest.mark.parametrize("size", [0, WRAPPED_KEY_BYTES_MIN - 1, WRAPPED_KEY_BYTES_MAX + 1, 1 << 20])
async def test_a_blob_out_of_bounds_is_refused_unseen(joined: Worlds, size: int) -> None:
    """No key's blob has this size, so no worker is asked."""
    async with all_running(joined[1]) as (token,):
        key = Moved(item=(await moved(token, joined[1], KeyAlgorithm.P256)).item, identity=bytes(65), blob=bytes(size))
        assert await refused(token, key) == "WRAPPED_SIZE"


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
async def test_an_identity_of_another_size_is_refused_unseen(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """A public key that is none of this algorithm, or a cut key check, is not asked about."""
    async with all_running(joined[0], joined[1]) as (token, other):
        key = await moved(token, joined[0], algorithm)
        for identity in (b"", key.identity[:-1], key.identity + b"\0"):
            assert await refused(other, key, identity=identity) == "IDENTITY_SIZE"


async def test_a_blob_of_another_kind_is_refused(joined: Worlds) -> None:
    """What holds a key of one algorithm makes none of another, whatever is told about it."""
    first, second, _ = joined
    before = objects(second)
    async with all_running(first, second) as (token, other):
        # Of other names, so of other secrets: padded with zeros, one secret gives both HMACs.
        keys = {algorithm: await moved(token, first, algorithm, algorithm.encode()) for algorithm in KeyAlgorithm}
        for algorithm, key in keys.items():
            for another in keys.values():
                if another is not key:
                    code = await refused(other, key, blob=another.blob)
                    refusals = {"UNWRAP_REFUSED", "COPY_NOT_PROVEN", "OBJECT_MISMATCH", "UNSUPPORTED_TRANSPORT"}
                    assert code in refusals | {"SECRET_SIZE"}, (algorithm, another.item.algorithm)
        assert objects(second) == before
        assert other.worker_starts == 1


@pytest.mark.parametrize("algorithm", MOVED)
async def test_under_another_wrapping_key_nothing_opens(joined: Worlds, apart: Worlds, algorithm: KeyAlgorithm) -> None:
    """A token that made a wrapping key of its own refuses the blob and keeps nothing of it."""
    async with all_running(joined[0], apart[1]) as (token, stranger):
        await stranger.create_wrapping_key()
        before = objects(apart[1])
        key = await moved(token, joined[0], algorithm)
        assert await refused(stranger, key) == "UNWRAP_REFUSED"
        assert objects(apart[1]) == before
        assert await stranger.wrapping_key_check() != await token.wrapping_key_check()


@pytest.mark.parametrize("algorithm", MOVED)
@pytest.mark.parametrize("held", [KeyAlgorithm.P256, ED25519, SHA256])
async def test_an_id_that_holds_another_key_keeps_it(
    joined: Worlds, algorithm: KeyAlgorithm, held: KeyAlgorithm
) -> None:
    """Nothing is imported over another key, of whichever kind; it signs as before."""
    first, second, _ = joined
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, algorithm)
        holder = await moved(other, second, held, b"holder")
        before = objects(second)
        assert await refused(other, key, object_id=holder.item.object_id) == "OBJECT_EXISTS"
        assert objects(second) == before
        await signature(other, holder.item)
        assert other.worker_starts == 1


@pytest.mark.parametrize("strategy", [KeyTransport.NONE, KeyTransport.VENDOR_CLUSTER])
async def test_nothing_is_wrapped_unless_the_strategy_says_so(joined: Worlds, strategy: KeyTransport) -> None:
    """In a token that has all it takes, with another strategy: every operation is refused, and keys still prove."""
    first, second, _ = joined
    async with all_running(first) as (token,):
        key = await moved(token, first, KeyAlgorithm.P256)
        der, blob, check = await token.transport_public_key(), bytes(384), await token.wrapping_key_check()
    before = objects(first)
    async with running(replace(first.config, key_transport=strategy)) as token:
        assert token.capabilities.transports == frozenset()
        object_id, algorithm = key.item.object_id, key.item.algorithm
        for call in (
            token.transport_public_key(),
            token.create_wrapping_key(),
            token.wrapping_key_check(),
            token.export_wrapping_key(der),
            token.import_wrapping_key(blob, check),
            token.wrap(object_id, algorithm),
            token.unwrap_copy(object_id, algorithm, key.blob, key.identity),
            token.generate(b"seeded", ED25519, plaintext_transport=True),
        ):
            assert await code_of(call) == "KEY_TRANSPORT_OFF"
        assert objects(first) == before
        await token.prove(object_id, algorithm, key.identity, CHALLENGE)
        await make_key(token, first, algorithm, b"stays")
    assert (first.inspect()["stays-P256"]["EXTRACTABLE"], first.inspect()["stays-P256"]["NEVER_EXTRACTABLE"]) == (
        "False",
        "True",
    )
    del second


async def test_a_key_that_was_made_to_stay_stays(joined: Worlds) -> None:
    """Keys from before the strategy, and Ed25519 keys for which nothing else was asked, are not wrapped."""
    first = joined[0]
    async with running(first.config) as token:
        old = [await make_key(token, first, algorithm, b"old") for algorithm in (*PAIRS, *HMACS)]
    async with all_running(first) as (token,):
        young = [await make_key(token, first, ED25519, b"young")]
        for item in (*old, *young):
            assert await code_of(token.wrap(item.object_id, item.algorithm)) == "NOT_TRANSPORTABLE"
            await signature(token, item)
        assert await code_of(token.wrap(LOG_KEY_OBJECT_ID, ED25519)) == "NOT_TRANSPORTABLE"
        # Made again under the same id it would not be what was asked for.
        for item in old:
            if item.algorithm in (KeyAlgorithm.P256, KeyAlgorithm.SECP256K1):
                assert await code_of(token.generate(item.object_id, item.algorithm)) == "NOT_TRANSPORTABLE"
        for item in (*young, old[2]):
            again = token.generate(item.object_id, item.algorithm, plaintext_transport=True)
            assert await code_of(again) == "NOT_TRANSPORTABLE"


async def test_without_a_wrapping_key_nothing_is_made_to_leave(apart: Worlds) -> None:
    """No key is extractable before there is the one that it may leave under; Ed25519 keys that stay need none."""
    first = apart[0]
    before = objects(first)
    async with all_running(first) as (token,):
        wrapped = wrap_secret(first.created.import_public_key, SECRET, SHA256)
        for call in (
            token.generate(b"k", KeyAlgorithm.P256),
            token.generate(b"k", ED25519, plaintext_transport=True),
            token.unwrap(b"k", SHA256, wrapped),
            token.wrap(b"k", KeyAlgorithm.P256),
            token.wrapping_key_check(),
            token.unwrap_copy(b"k", KeyAlgorithm.P256, bytes(80), bytes(65)),
        ):
            assert await code_of(call) == "WRAPPING_KEY_MISSING"
        assert objects(first) == before
        await token.generate(b"k", ED25519)


@pytest.mark.parametrize("object_id", [IMPORT_KEY_OBJECT_ID, TRANSPORT_KEY_OBJECT_ID, WRAPPING_KEY_OBJECT_ID])
async def test_the_keys_that_open_are_not_moved_as_keys(joined: Worlds, object_id: bytes) -> None:
    """Import key, transport key and wrapping key are not wrapped, not replaced, and not destroyed."""
    async with all_running(joined[1]) as (token,):
        key = await moved(token, joined[1], SHA256)
        before = objects(joined[1])
        for algorithm in KeyAlgorithm:
            assert await code_of(token.wrap(object_id, algorithm)) == "OBJECT_KEPT"
            assert await code_of(token.destroy(object_id, algorithm)) == "OBJECT_KEPT"
        assert await refused(token, key, object_id=object_id) == "OBJECT_KEPT"
        assert await code_of(token.generate(object_id, KeyAlgorithm.P256)) == "OBJECT_KEPT"
        wrapped = wrap_secret(joined[1].created.import_public_key, SECRET, SHA256)
        assert await code_of(token.unwrap(object_id, SHA256, wrapped)) == "OBJECT_KEPT"
        assert objects(joined[1]) == before


async def test_a_seed_is_taken_only_where_that_is_allowed(joined: Worlds) -> None:
    """The blob of an Ed25519 key passes through the worker in clear: not without a word, on either side."""
    first, second, _ = joined
    before = objects(second)
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, ED25519)
        assert await refused(other, key, plaintext_transport=False) == "PLAINTEXT_TRANSPORT"
        assert objects(second) == before
        await key.into(other)


@pytest.mark.parametrize("size", [0, 31, 33])
async def test_a_challenge_has_its_size(joined: Worlds, size: int) -> None:
    """What a key signs to prove itself has 32 bytes of ours in it."""
    async with all_running(joined[0]) as (token,):
        key = await moved(token, joined[0], KeyAlgorithm.P256)
        prove = token.prove(key.item.object_id, key.item.algorithm, key.identity, bytes(size))
        assert await code_of(prove) == "CHALLENGE_SIZE"


async def test_only_secrets_have_a_key_check(joined: Worlds) -> None:
    """Pairs are known by their public key; two secrets have two checks, and one secret two for two ids."""
    async with all_running(joined[0]) as (token,):
        assert await code_of(token.key_check(b"k", KeyAlgorithm.P256)) == "NO_KEY_CHECK"
        checks = {(await moved(token, joined[0], one, name)).identity for one in HMACS for name in (b"x", b"y")}
        assert len(checks) == 4


async def test_a_token_without_kwp_moves_nothing(world: World) -> None:
    """Without AES-KWP the token starts, signs, says that it moves no keys, and makes none that could be."""
    async with running(kwp(world.faulty("kwp-none"))) as token:
        assert token.capabilities.transports == frozenset()
        item = await make_key(token, world, KeyAlgorithm.P256)
        await signature(token, item)
        assert await code_of(token.wrap(item.object_id, item.algorithm)) == "WRAPPING_KEY_MISSING"
        key = Moved(item=item, identity=item.public_key, blob=bytes(80))
        assert await refused(token, key, object_id=b"new") == "UNSUPPORTED_TRANSPORT"
    assert world.inspect()["key-P256"]["EXTRACTABLE"] == "False"


async def test_what_a_token_can_move_was_tried(world: World) -> None:
    """SoftHSM 2.6.1 wraps all but Ed25519 keys: so said by what a worker did with keys of one moment."""
    async with all_running(world) as (token,):
        expected = frozenset(KeyAlgorithm) - {ED25519}
        if "2.6" in token.capabilities.library:
            assert token.capabilities.transports == expected
        assert expected <= token.capabilities.transports
