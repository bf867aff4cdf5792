"""The check that every signature passes."""

import hashlib
from dataclasses import replace

import pytest
from coincurve import PrivateKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.hsm.base import SignItem
from keyvault.hsm.verify import P256_ORDER, SECP256K1_ORDER, SIGNATURE_BYTES, WrongSignature, verified

DIGEST = hashlib.sha256(b"order").digest()
K1 = PrivateKey(b"\1" * 32)
P256 = ec.derive_private_key(7, ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


def item(algorithm: KeyAlgorithm, public_key: bytes) -> SignItem:
    return SignItem(object_id=b"k", algorithm=algorithm, public_key=public_key, input=DIGEST)


K1_ITEM = item(KeyAlgorithm.SECP256K1, K1.public_key.format(compressed=False))
P256_ITEM = item(KeyAlgorithm.P256, P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
ED_ITEM = item(KeyAlgorithm.ED25519, ED.public_key().public_bytes_raw())
ITEMS = (K1_ITEM, P256_ITEM, ED_ITEM)


def raw(of: SignItem) -> bytes:
    """Return a right signature as a token gives it."""
    if of.algorithm is KeyAlgorithm.SECP256K1:
        return K1.sign_recoverable(of.input, hasher=None)[:64]
    if of.algorithm is KeyAlgorithm.P256:
        r, s = utils.decode_dss_signature(P256.sign(of.input, PREHASHED))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return ED.sign(of.input)


def mirrored(signature: bytes, order: int) -> bytes:
    """Return the other s that verifies as well."""
    return signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")


@pytest.mark.parametrize(("of", "order"), [(K1_ITEM, SECP256K1_ORDER), (P256_ITEM, P256_ORDER)])
def test_both_forms_of_s_give_the_same_signature(of: SignItem, order: int) -> None:
    """A signature with high s is the one with low s, recovery id included."""
    signature = raw(of)
    result = verified(of, signature)
    assert verified(of, mirrored(signature, order)) == result
    assert int.from_bytes(result.value[32:], "big") <= order // 2


@pytest.mark.parametrize("message", [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"])
def test_the_recovery_id_is_coincurves(message: bytes) -> None:
    """The recovery id is the one that libsecp256k1 gives when it signs itself."""
    of = replace(K1_ITEM, input=hashlib.sha256(message).digest())
    signature = K1.sign_recoverable(of.input, hasher=None)
    assert verified(of, signature[:64]).recovery_id == signature[64]


@given(position=st.integers(0, 63), flip=st.integers(1, 255), of=st.sampled_from(ITEMS))
def test_no_changed_signature_passes(position: int, flip: int, of: SignItem) -> None:
    """Whatever byte is changed, the signature is refused."""
    signature = bytearray(raw(of))
    signature[position] ^= flip
    with pytest.raises(WrongSignature):
        verified(of, bytes(signature))


@given(noise=st.binary(max_size=80), of=st.sampled_from(ITEMS))
def test_noise_never_passes_and_never_crashes(noise: bytes, of: SignItem) -> None:
    """Any bytes are refused, in one way."""
    with pytest.raises(WrongSignature):
        verified(of, noise)


@pytest.mark.parametrize("of", ITEMS)
def test_another_input_or_key_does_not_pass(of: SignItem) -> None:
    """A right signature of something else, or under another key, is refused."""
    signature = raw(of)
    with pytest.raises(WrongSignature):
        verified(replace(of, input=bytes(32)), signature)
    other_key = bytes(len(of.public_key))
    with pytest.raises(WrongSignature):
        verified(replace(of, public_key=other_key), signature)


@pytest.mark.parametrize("of", [K1_ITEM, P256_ITEM])
@pytest.mark.parametrize("value", [bytes(64), b"\xff" * 64, bytes(32) + b"\1" * 32, b"\1" * 32 + bytes(32)])
def test_r_and_s_outside_the_group_are_refused(of: SignItem, value: bytes) -> None:
    """Zero and numbers above the order are no signatures."""
    with pytest.raises(WrongSignature):
        verified(of, value)


@pytest.mark.parametrize(
    ("algorithm", "size"),
    [
        *((KeyAlgorithm.HMAC_SHA256, size) for size in (0, 31, 33, 64)),
        *((KeyAlgorithm.HMAC_SHA512, size) for size in (0, 32, 63, 65)),
    ],
)
def test_an_hmac_has_the_length_of_its_hash(algorithm: KeyAlgorithm, size: int) -> None:
    """An HMAC of another length, the other HMAC's, too, is refused; without the secret no more can be checked."""
    with pytest.raises(WrongSignature):
        verified(item(algorithm, b""), bytes(size))
    right = bytes(SIGNATURE_BYTES[algorithm])
    assert verified(item(algorithm, b""), right) == Signature(value=right)
