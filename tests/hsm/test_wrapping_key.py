"""The wrapping key, and how another token gets it: checked against software that knows RFC 5649 and RFC 8017, too."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.limits import TRANSPORT_KEY_DER_BYTES_MAX
from keyvault.core.wrap import parse_transport_key
from keyvault.hsm.base import TokenFault
from keyvault.hsm.supervisor import TokenSupervisor
from tests.hsm.moving import Moved, all_running, flipped, join, kwp, moved, objects, refused, signature
from tests.hsm.world import SHA256, World, running

Worlds = tuple[World, ...]
SHA1 = hashes.SHA1()  # noqa: S303  what SoftHSM has; see keyvault.core.wrap
OAEP = padding.OAEP(padding.MGF1(SHA1), SHA1, None)
KNOWN = hashlib.sha256(b"not secret at all").digest()
"""A wrapping key that these tests know, so that they can open what a token wraps."""


def check_of(wrapping_key: bytes) -> bytes:
    """Return the check of a wrapping key as anybody can compute it who has the key."""
    return hashlib.sha256(
        b"keyvault/wrapping-key-check/v1\0" + aes_key_wrap_with_padding(wrapping_key, b"keyvault-check-1")
    ).digest()


def der(key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_of(modulus: int, exponent: int = 65_537) -> bytes:
    """Return an RSA key with this modulus, which nobody can open anything with."""
    return der(rsa.RSAPublicNumbers(exponent, modulus).public_key())


async def wrapped_for(token: TokenSupervisor, wrapping_key: bytes) -> bytes:
    """Return a wrapping key for a token's transport key, as another token would wrap it."""
    key = load_der_public_key(await token.transport_public_key())
    assert isinstance(key, rsa.RSAPublicKey)
    return key.encrypt(wrapping_key, OAEP)


async def not_taken(token: TokenSupervisor, blob: bytes, check: bytes) -> str:
    """Return the code with which an import of a wrapping key is refused."""
    with pytest.raises(TokenFault) as fault:
        await token.import_wrapping_key(blob, check)
    return fault.value.code


async def not_exported(token: TokenSupervisor, to: bytes) -> str:
    """Return the code with which an export is refused."""
    with pytest.raises(TokenFault) as fault:
        await token.export_wrapping_key(to)
    return fault.value.code


async def test_a_wrapping_key_is_made_once(apart: Worlds) -> None:
    """Made again it is the same; another token's is another; the check is the same each time and after a restart."""
    first, second, _ = apart
    async with all_running(first, second) as (token, other):
        await token.create_wrapping_key()
        check = await token.wrapping_key_check()
        before = objects(first)
        await token.create_wrapping_key()
        await other.create_wrapping_key()
        assert len(check) == 32
        assert check == await token.wrapping_key_check() != await other.wrapping_key_check()
        assert objects(first) == before
    async with all_running(first) as (token,):
        assert await token.wrapping_key_check() == check


async def test_a_transport_key_is_made_once(apart: Worlds) -> None:
    """It is RSA of 3072 bits, the same each time, and another one in another token."""
    async with all_running(*apart[:2]) as (token, other):
        first = await token.transport_public_key()
        assert first == await token.transport_public_key() != await other.transport_public_key()
        assert parse_transport_key(first)[0].bit_length() == 3072
        assert len(first) <= TRANSPORT_KEY_DER_BYTES_MAX


async def test_a_joined_token_has_the_same_wrapping_key(apart: Worlds) -> None:
    """Joined, and joined again, also from the second to the third, all have the same check."""
    async with all_running(*apart) as (first, second, third):
        await first.create_wrapping_key()
        await join(first, second)
        await join(first, second)
        await join(second, third)
        checks = {await token.wrapping_key_check() for token in (first, second, third)}
        assert len(checks) == 1


async def test_tokens_wrap_as_the_standards_say(apart: Worlds) -> None:
    """Under a known key: software computes the same check, opens a token's blob, and makes one that a token opens."""
    world = apart[0]
    async with all_running(world) as (token,):
        await token.import_wrapping_key(await wrapped_for(token, KNOWN), check_of(KNOWN))
        assert await token.wrapping_key_check() == check_of(KNOWN)
        pair = await moved(token, world, KeyAlgorithm.P256)
        content = aes_key_unwrap_with_padding(KNOWN, pair.blob)
        opened = load_der_private_key(content[: 2 + content[1]], None)  # SoftHSM fills it up with zeros
        assert isinstance(opened, ec.EllipticCurvePrivateKey)
        assert opened.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == pair.identity
        seed = aes_key_unwrap_with_padding(KNOWN, (await moved(token, world, KeyAlgorithm.ED25519)).blob)
        assert len(seed) == 32
        made = ed25519.Ed25519PrivateKey.generate()
        public_key = made.public_key().public_bytes_raw()
        blob = aes_key_wrap_with_padding(KNOWN, made.private_bytes_raw())
        await token.unwrap_copy(b"made", KeyAlgorithm.ED25519, blob, public_key, plaintext_transport=True)
        await token.prove(b"made", KeyAlgorithm.ED25519, public_key, bytes(32))


async def test_only_the_key_that_was_told_is_taken(apart: Worlds) -> None:
    """A blob of another wrapping key, which anybody can make, is refused by its check, and nothing of it stays."""
    world = apart[0]
    async with all_running(world) as (token,):
        blob = await wrapped_for(token, KNOWN)
        before = objects(world)
        assert await not_taken(token, blob, check_of(bytes(32))) == "COPY_NOT_PROVEN"
        assert await not_taken(token, await wrapped_for(token, KNOWN[:16]), check_of(KNOWN)) == "COPY_NOT_PROVEN"
        for position in (0, 100, -1):
            assert await not_taken(token, flipped(blob, position), check_of(KNOWN)) == "UNWRAP_REFUSED"
        assert objects(world) == before
        assert token.worker_starts == 1
        await token.import_wrapping_key(blob, check_of(KNOWN))


async def test_a_token_that_has_a_wrapping_key_keeps_it(joined: Worlds) -> None:
    """Another one is refused, and keys made before still open."""
    first, second, _ = joined
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, SHA256)
        before = objects(second)
        assert await not_taken(other, await wrapped_for(other, KNOWN), check_of(KNOWN)) == "OBJECT_EXISTS"
        assert objects(second) == before
        await key.into(other)


async def test_an_export_for_another_token_opens_nowhere_else(apart: Worlds) -> None:
    """What was wrapped for the second is nothing for the third, and for a token without transport key."""
    first, second, third = apart
    async with all_running(*apart) as (token, other, stranger):
        await token.create_wrapping_key()
        check = await token.wrapping_key_check()
        blob = await token.export_wrapping_key(await other.transport_public_key())
        assert await not_taken(stranger, blob, check) == "OBJECT_NOT_FOUND"
        await stranger.transport_public_key()
        assert await not_taken(stranger, blob, check) == "UNWRAP_REFUSED"
        assert "keyvault-wrapping-key" not in third.inspect()
        await other.import_wrapping_key(blob, check)
    del first, second


@pytest.mark.parametrize("size", [0, 383, 513, 1 << 20])
async def test_a_wrapped_wrapping_key_out_of_bounds_is_refused_unseen(apart: Worlds, size: int) -> None:
    """No RSA key that we take gives this size; nor has a check another size than its own."""
    async with all_running(apart[0]) as (token,):
        assert await not_taken(token, bytes(size), bytes(32)) == "WRAPPED_SIZE"
        assert await not_taken(token, bytes(384), bytes(31)) == "CHECK_SIZE"


@pytest.mark.parametrize(
    ("to", "code"),
    [
        pytest.param(public_of(2**1024 - 1), "TRANSPORT_KEY_UNUSABLE", id="1024"),
        pytest.param(public_of(2**3071 - 1), "TRANSPORT_KEY_UNUSABLE", id="3071"),
        pytest.param(public_of(2**4097 - 1), "TRANSPORT_KEY_UNUSABLE", id="4097"),
        pytest.param(public_of(2**8192 - 1), "TRANSPORT_KEY_SIZE", id="8192"),
        pytest.param(public_of(2**3072 - 1, 3), "TRANSPORT_KEY_UNUSABLE", id="exponent"),
        pytest.param(der(ed25519.Ed25519PrivateKey.generate().public_key()), "TRANSPORT_KEY_UNUSABLE", id="Ed25519"),
        pytest.param(der(ec.generate_private_key(ec.SECP256R1()).public_key()), "TRANSPORT_KEY_UNUSABLE", id="P-256"),
        pytest.param(public_of(2**3072 - 1)[:-1], "TRANSPORT_KEY_UNUSABLE", id="cut"),
        pytest.param(public_of(2**3072 - 1) + b"\0", "TRANSPORT_KEY_UNUSABLE", id="grown"),
        pytest.param(b"nonsense", "TRANSPORT_KEY_UNUSABLE", id="nonsense"),
        pytest.param(b"", "TRANSPORT_KEY_SIZE", id="empty"),
        pytest.param(bytes(TRANSPORT_KEY_DER_BYTES_MAX + 1), "TRANSPORT_KEY_SIZE", id="long"),
    ],
)
async def test_the_wrapping_key_goes_to_strong_rsa_keys_only(joined: Worlds, to: bytes, code: str) -> None:
    """RSA of 3072 to 4096 bits with an exponent of 65537 or more; nothing else gets it, and nothing is left."""
    before = objects(joined[0])
    async with all_running(joined[0]) as (token,):
        assert await not_exported(token, to) == code
        assert token.worker_starts == 1
        assert len(await token.export_wrapping_key(public_of(2**3072 - 1))) == 384
        assert len(await token.export_wrapping_key(public_of(2**4096 - 1))) == 512
    assert objects(joined[0]) == before


def test_a_transport_key_says_what_is_wrong() -> None:
    """The refusal names the field and the bound."""
    with pytest.raises(Malformed, match=r"transport_public_key.*at least 3072 bits"):
        parse_transport_key(public_of(2**2048 - 1))
    with pytest.raises(Malformed, match=r"transport_public_key.*exponent of 65537 or more"):
        parse_transport_key(public_of(2**3072 - 1, 17))


async def test_a_blob_from_elsewhere_is_believed_in_nothing(apart: Worlds) -> None:
    """Under the true wrapping key, but with no key, a wrong key or too much in it: nothing is stored."""
    world = apart[0]
    async with all_running(world) as (token,):
        await token.import_wrapping_key(await wrapped_for(token, KNOWN), check_of(KNOWN))
        pair = await moved(token, world, KeyAlgorithm.P256)
        secret = await moved(token, world, SHA256)
        before = objects(world)
        for content in (
            bytes(32),
            bytes(64),
            b"\x30\x41" + bytes(65),
            b"k" * 128,
            aes_key_unwrap_with_padding(KNOWN, pair.blob)[:-8],
        ):
            blob = aes_key_wrap_with_padding(KNOWN, content)
            for key in (pair, secret):
                changed = Moved(item=key.item, identity=key.identity, blob=blob)
                assert await refused(token, changed, object_id=b"new") in {"UNWRAP_REFUSED", "COPY_NOT_PROVEN"}
        assert objects(world) == before
        assert token.worker_starts == 1
        await signature(token, pair.item)


async def test_keys_leave_only_under_a_trusted_key_where_there_is_one(joined: Worlds) -> None:
    """Where the token trusts its wrapping key, keys are made WRAP_WITH_TRUSTED, and the token holds to it."""
    first = joined[0]
    async with running(kwp(first.faulty("trusts"))) as token:
        for algorithm in (KeyAlgorithm.P256, KeyAlgorithm.ED25519):
            public_key = await token.generate(algorithm.encode(), algorithm, plaintext_transport=True)
            assert len(public_key) in {65, 32}
            # SoftHSM knows better: nobody made the key a trusted one.
            with pytest.raises(TokenFault) as fault:
                await token.wrap(algorithm.encode(), algorithm)
            assert fault.value.code == "KEY_NOT_WRAPPABLE"
    found = first.inspect()
    assert {found[name]["WRAP_WITH_TRUSTED"] for name in ("P256", "ED25519 (seed)")} == {"True"}
