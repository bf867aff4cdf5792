"""Import of secrets: RSA-OAEP of an AES key, AES-KWP of the secret, opened inside the token."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.limits import WRAPPED_SECRET_BYTES_MAX, WRAPPED_SECRET_BYTES_MIN
from keyvault.core.wrap import HASHES, hmac_key, wrap_secret
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.supervisor import TokenSupervisor
from tests.hsm.world import HMACS, SECRET, SHA256, SHA512, World, running

OAEP_BYTES = 384
KEPT_KEYS = {"keyvault-log-key", "keyvault-import-key"}

# RFC 4231, section 4: key, data, HMAC-SHA-256, HMAC-SHA-512 (case 5 is of a truncated output).
VECTORS = {
    1: (
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        (
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
            "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        ),
    ),
    2: (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        (
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        ),
    ),
    3: (
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        (
            "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
            "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"
        ),
    ),
    4: (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        (
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3db"
            "a91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd"
        ),
    ),
    6: (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        (
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
            "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
        ),
    ),
    7: (
        b"\xaa" * 131,
        (
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
            b"hashed before being used by the HMAC algorithm."
        ),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        (
            "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944"
            "b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58"
        ),
    ),
}


async def refusal(token: TokenSupervisor, wrapped: bytes, algorithm: KeyAlgorithm = SHA256) -> str:
    """Return the code with which an import is refused."""
    with pytest.raises(TokenFault) as fault:
        await token.unwrap(b"api", algorithm, wrapped)
    return fault.value.code


async def hmac_of(token: TokenSupervisor, message: bytes, algorithm: KeyAlgorithm = SHA256) -> bytes:
    """Return the HMAC that the imported secret gives."""
    item = SignItem(object_id=b"api", algorithm=algorithm, public_key=b"", input=message)
    (result,) = await token.lanes[0].sign([item])
    assert isinstance(result, Signature), result
    return result.value


def flipped(wrapped: bytes, position: int) -> bytes:
    """Return the blob with one bit changed."""
    return wrapped[:position] + bytes((wrapped[position] ^ 1,)) + wrapped[position + 1 :]


@pytest.mark.parametrize("case", VECTORS)
async def test_an_imported_secret_gives_the_hmacs_of_the_rfc(world: World, case: int) -> None:
    """Keys shorter and longer than the hash's block, and than the token takes, give the HMACs of RFC 4231."""
    secret, message, *answers = VECTORS[case]
    async with running(world.config) as token:
        for algorithm, answer in zip(HMACS, answers, strict=True):
            name, key = algorithm.value.encode(), world.created.import_public_key
            await token.unwrap(name, algorithm, wrap_secret(key, secret, algorithm))
            item = SignItem(object_id=name, algorithm=algorithm, public_key=b"", input=message)
            (result,) = await token.lanes[0].sign([item])
            assert isinstance(result, Signature), result
            assert result.value.hex() == answer


@pytest.mark.parametrize(
    ("secret", "code"), [(b"k" * 32, "WRAPPED_SIZE"), (b"k" * 57, "SECRET_SIZE"), (b"k" * 200, "WRAPPED_SIZE")]
)
async def test_a_secret_wrapped_for_sha256_is_none_for_sha512(world: World, secret: bytes, code: str) -> None:
    """What was padded too little, or hashed with SHA-256, is refused and leaves nothing; wrapped right, it is taken."""
    key = world.created.import_public_key
    async with running(world.config) as token:
        assert await refusal(token, wrap_secret(key, secret, SHA256), SHA512) == code
        assert set(world.inspect()) == KEPT_KEYS
        await token.unwrap(b"api", SHA512, wrap_secret(key, secret, SHA512))
        assert await hmac_of(token, b"m", SHA512) == hmac.digest(secret, b"m", hashlib.sha512)
        assert token.worker_starts == 1


@pytest.mark.parametrize("algorithm", HMACS)
async def test_a_token_may_have_one_hmac_only(world: World, algorithm: KeyAlgorithm) -> None:
    """The HMAC that the token refuses is not offered, at no cost for the other, with which the import is tried."""
    (other,) = set(HMACS) - {algorithm}
    key = world.created.import_public_key
    async with running(world.faulty(f"without-{algorithm}")) as token:
        assert token.capabilities.algorithms == frozenset(KeyAlgorithm) - {algorithm}
        assert token.capabilities.imports_secrets
        assert await refusal(token, wrap_secret(key, SECRET, algorithm), algorithm) == "UNSUPPORTED_ALGORITHM"
        await token.unwrap(b"api", other, wrap_secret(key, SECRET, other))
        assert await hmac_of(token, b"m", other) == hmac.digest(SECRET, b"m", HASHES[other])


async def test_a_secret_is_imported_once(world: World) -> None:
    """The same secret again is fine, in another blob; another secret under the same id is refused."""
    key = world.created.import_public_key
    async with running(world.config) as token:
        for _ in range(2):
            await token.unwrap(b"api", SHA256, wrap_secret(key, SECRET, SHA256))
        assert await refusal(token, wrap_secret(key, b"another", SHA256)) == "OBJECT_EXISTS"
        assert await hmac_of(token, b"m") == hmac.digest(SECRET, b"m", hashlib.sha256)


@pytest.mark.parametrize("position", [0, OAEP_BYTES - 1, OAEP_BYTES, -1], ids=["OAEP", "OAEP-end", "KWP", "KWP-end"])
async def test_a_blob_that_was_changed_is_refused(world: World, position: int) -> None:
    """One bit anywhere: nothing is imported, the worker goes on, and the true blob is imported afterwards."""
    wrapped = wrap_secret(world.created.import_public_key, SECRET, SHA256)
    async with running(world.config) as token:
        assert await refusal(token, flipped(wrapped, position % len(wrapped))) == "UNWRAP_REFUSED"
        assert set(world.inspect()) == KEPT_KEYS
        await token.unwrap(b"api", SHA256, wrapped)
        assert token.worker_starts == 1


async def test_parts_of_two_blobs_are_no_blob(world: World) -> None:
    """The AES key of one blob does not open the secret of another."""
    first, second = (wrap_secret(world.created.import_public_key, SECRET, SHA256) for _ in range(2))
    async with running(world.config) as token:
        assert await refusal(token, first[:OAEP_BYTES] + second[OAEP_BYTES:]) == "UNWRAP_REFUSED"
    assert set(world.inspect()) == KEPT_KEYS


@pytest.mark.parametrize(("bits", "code"), [(3072, "UNWRAP_REFUSED"), (4096, "WRAPPED_SIZE")])
async def test_a_blob_for_another_import_key_is_refused(world: World, bits: int, code: str) -> None:
    """What was wrapped for the import key of another enclave is not opened here, whatever that key's size."""
    other = rsa.generate_private_key(65537, bits).public_key()
    wrapped = wrap_secret(other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), SECRET, SHA256)
    async with running(world.config) as token:
        assert await refusal(token, wrapped) == code
        assert token.worker_starts == 1
    assert set(world.inspect()) == KEPT_KEYS


@pytest.mark.parametrize("size", [0, OAEP_BYTES, WRAPPED_SECRET_BYTES_MIN - 1, WRAPPED_SECRET_BYTES_MAX + 1])
async def test_a_blob_out_of_bounds_is_refused_unseen(world: World, size: int) -> None:
    """No blob for any import key has this size, so no worker is asked: not RSA-OAEP alone, either."""
    async with running(world.config) as token:
        await token.lanes[0].ready()
        assert await refusal(token, bytes(size)) == "WRAPPED_SIZE"


async def test_a_blob_whose_parts_do_not_fit_is_refused(world: World) -> None:
    """The import key's size says where the second part begins; one that AES-KWP cannot give is not tried."""
    async with running(world.config) as token:
        assert await refusal(token, bytes(WRAPPED_SECRET_BYTES_MIN + 1)) == "WRAPPED_SIZE"
        assert await refusal(token, bytes(WRAPPED_SECRET_BYTES_MAX)) == "WRAPPED_SIZE"


def test_the_aes_key_of_an_import_does_not_stay(world: World) -> None:
    """After a success, a repetition and each kind of failure the process has no secret key beside the imported one."""
    key = world.created.import_public_key
    wrapped = wrap_secret(key, SECRET, SHA256)
    blobs = (
        flipped(wrapped, 5),
        flipped(wrapped, OAEP_BYTES + 5),
        wrapped,
        wrapped,
        wrap_secret(key, b"another", SHA256),
    )
    found = world.inspect("import", *(blob.hex() for blob in blobs))
    nothing, imported = "a-session-key", "a-session-key api"
    assert [(one["code"], one["keys"]) for one in found.values()] == [
        ("UNWRAP_REFUSED", nothing),
        ("UNWRAP_REFUSED", nothing),
        ("imported", imported),
        ("imported", imported),
        ("OBJECT_EXISTS", imported),
    ]


def test_an_aes_key_that_is_not_secret_opens_nothing(world: World) -> None:
    """When the token makes the AES key of an import extractable, nothing is imported and the key is destroyed (I6)."""
    found = world.inspect("leaky-import", wrap_secret(world.created.import_public_key, SECRET, SHA256).hex())
    assert found == {"0": {"code": "NOT_SECRET", "keys": "a-session-key"}}


async def test_a_secret_that_is_not_secret_is_not_taken_for_imported(world: World) -> None:
    """The same secret, stored by another program as extractable, does not pass for an import (I6)."""
    world.inspect("plant", "api", hmac_key(SECRET, SHA256).hex())
    async with running(world.config) as token:
        assert await refusal(token, wrap_secret(world.created.import_public_key, SECRET, SHA256)) == "NOT_SECRET"


async def test_an_aes_key_that_stays_costs_the_worker(world: World) -> None:
    """When the token does not destroy the AES key, the process ends, and the key with it; a repetition is fine."""
    wrapped = wrap_secret(world.created.import_public_key, SECRET, SHA256)
    async with running(world.faulty("destroy-fails")) as token:
        world.trigger.touch()
        assert await refusal(token, wrapped) == "IMPORT_AES_KEY_LEFT"
        await token.lanes[0].ready()
        assert token.worker_starts == 2
        await token.unwrap(b"api", SHA256, wrapped)
        assert await hmac_of(token, b"m") == hmac.digest(SECRET, b"m", hashlib.sha256)


@pytest.mark.parametrize("fault", ["kwp-standard", "kwp-lies"])
async def test_the_mechanism_is_found_by_what_it_does(world: World, fault: str) -> None:
    """AES-KWP under its standard number is used; a number that gives another key is passed over."""
    async with running(world.faulty(fault)) as token:
        assert token.capabilities.imports_secrets
        await token.unwrap(b"api", SHA256, wrap_secret(world.created.import_public_key, SECRET, SHA256))
        assert await hmac_of(token, b"m") == hmac.digest(SECRET, b"m", hashlib.sha256)


async def test_a_token_without_kwp_signs_but_does_not_import(world: World) -> None:
    """No fallback: without AES-KWP the token starts, can do every algorithm, and refuses imports in clear words."""
    async with running(world.faulty("kwp-none")) as token:
        assert token.capabilities.algorithms == frozenset(KeyAlgorithm)
        assert not token.capabilities.imports_secrets
        assert (
            await refusal(token, wrap_secret(world.created.import_public_key, SECRET, SHA256)) == "UNSUPPORTED_IMPORT"
        )
    assert set(world.inspect()) == KEPT_KEYS


async def test_a_token_without_import_key_does_not_import(world: World) -> None:
    """An enclave whose token has no import key says so at the start, and at an import."""
    assert world.inspect("remove", "keyvault-import-key")["keyvault-import-key"] == {"removed": "2"}
    async with running(world.config) as token:
        assert not token.capabilities.imports_secrets
        assert (
            await refusal(token, wrap_secret(world.created.import_public_key, SECRET, SHA256)) == "UNSUPPORTED_IMPORT"
        )


async def test_only_secrets_are_imported(world: World) -> None:
    """A blob for a key pair is refused: pairs are generated in the token."""
    async with running(world.config) as token:
        with pytest.raises(TokenFault) as fault:
            await token.unwrap(b"k", KeyAlgorithm.P256, wrap_secret(world.created.import_public_key, SECRET, SHA256))
    assert fault.value.code == "NOT_IMPORTED"
