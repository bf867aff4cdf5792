"""Small rules: forms of public keys, remedies, frames, wrapping, names."""

import hmac
import socket
import struct
import time

import pkcs11.exceptions
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.limits import TOKEN_FRAME_BYTES_MAX, WRAPPED_SECRET_BYTES_MAX, WRAPPED_SECRET_BYTES_MIN
from keyvault.core.wrap import HASHES, hmac_key, secret_bounds, split_blob, wrap_secret
from keyvault.hsm import failures, frames
from keyvault.hsm.failures import Remedy, code_of, remedy_for
from keyvault.hsm.templates import parse_ec_point
from tests.hsm.world import HMACS, SHA256, SHA512

POINT = b"\x04" + bytes(range(64))
EDWARDS = bytes(range(32))
IMPORT_KEY = rsa.generate_private_key(65537, 3072)
IMPORT_DER = IMPORT_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
LARGE_IMPORT_DER = (
    rsa.RSAPublicNumbers(65537, 2**4096 - 1)  # nobody opens what is wrapped for it: any modulus will do
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)


@pytest.mark.parametrize(
    ("algorithm", "value", "key"),
    [
        (KeyAlgorithm.P256, POINT, POINT),
        (KeyAlgorithm.P256, b"\x04\x41" + POINT, POINT),
        (KeyAlgorithm.SECP256K1, b"\x03\x42\x00" + POINT, POINT),
        (KeyAlgorithm.ED25519, EDWARDS, EDWARDS),
        (KeyAlgorithm.ED25519, b"\x04\x20" + EDWARDS, EDWARDS),
        (KeyAlgorithm.ED25519, b"\x03\x21\x00" + EDWARDS, EDWARDS),
    ],
)
def test_public_keys_are_read_in_every_known_form(algorithm: KeyAlgorithm, value: bytes, key: bytes) -> None:
    """Raw, OCTET STRING and BIT STRING give the same key."""
    assert parse_ec_point(algorithm, value) == key


@given(value=st.binary(max_size=70), algorithm=st.sampled_from(list(KeyAlgorithm)[:3]))
def test_other_forms_of_public_keys_are_refused(value: bytes, algorithm: KeyAlgorithm) -> None:
    """What comes back has the right length, or it is refused."""
    try:
        key = parse_ec_point(algorithm, value)
    except Malformed:
        return
    assert len(key) == (32 if algorithm is KeyAlgorithm.ED25519 else 65)


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("PinIncorrect", "", Remedy.LATCH),
        ("PinLocked", "", Remedy.LATCH),
        ("DeviceError", "", Remedy.RETIRE),
        ("GeneralError", "", Remedy.RETIRE),
        ("UserNotLoggedIn", "", Remedy.RETIRE),
        ("PKCS11Error", "Cryptoki is not initialized", Remedy.RETIRE),
        ("PKCS11Error", "Unmapped error code 0x68", Remedy.KEEP),
        ("DataLenRange", "", Remedy.KEEP),
        ("SessionHandleInvalid", "", Remedy.REOPEN),
        ("PKCS11Error", "Unmapped error code 0x80000001", Remedy.REOPEN),
        ("NeverHeardOfIt", "", Remedy.REOPEN),
    ],
)
def test_each_error_has_its_remedy(name: str, text: str, remedy: Remedy) -> None:
    """PIN errors latch, device errors retire, data errors keep the session, everything else costs the session."""
    assert remedy_for(name, text) is remedy


def test_the_table_names_errors_that_exist() -> None:
    """Every name in the table is an exception of python-pkcs11: a misspelt one would get the wrong remedy."""
    for name in failures._KEEP | failures._LATCH | failures._RETIRE:
        assert issubclass(getattr(pkcs11.exceptions, name), pkcs11.PKCS11Error)


def test_codes_are_readable() -> None:
    """A class name becomes a code in capitals."""
    assert code_of("SessionHandleInvalid") == "SESSION_HANDLE_INVALID"
    assert code_of("PKCS11Error") == "PKCS11_ERROR"


@given(message=st.binary(max_size=4096))
def test_frames_carry_any_bytes(message: bytes) -> None:
    """What is sent is what arrives."""
    near, far = socket.socketpair()
    with near, far:
        frames.send(near, message)
        assert frames.receive(far, time.monotonic() + 5) == message


def test_a_frame_has_a_bound_in_both_directions() -> None:
    """A message that is too long is not sent, and the announcement of one is refused before it is read."""
    near, far = socket.socketpair()
    with near, far:
        with pytest.raises(frames.BrokenStream):
            frames.send(near, bytes(TOKEN_FRAME_BYTES_MAX + 1))
        near.sendall(struct.pack(">I", TOKEN_FRAME_BYTES_MAX + 1))
        with pytest.raises(frames.BrokenStream):
            frames.receive(far)


def test_a_frame_that_stops_half_way_times_out_or_ends() -> None:
    """Half a frame is a timeout while the peer lives, and the end of the stream when it dies."""
    near, far = socket.socketpair()
    with far:
        with near:
            near.sendall(struct.pack(">I", 10) + b"half")
            with pytest.raises(TimeoutError):
                frames.receive(far, time.monotonic() + 0.01)
            near.sendall(struct.pack(">I", 10) + b"half")
        with pytest.raises(frames.BrokenStream):
            frames.receive(far)


@pytest.mark.parametrize(("algorithm", "bounds"), [(SHA256, (32, 64)), (SHA512, (64, 128))])
@given(secret=st.binary(min_size=1, max_size=300), message=st.binary(max_size=64))
@example(secret=b"k" * 65, message=b"m")
@example(secret=b"k" * 129, message=b"m")
def test_the_padded_secret_gives_the_same_hmac(
    algorithm: KeyAlgorithm, bounds: tuple[int, int], secret: bytes, message: bytes
) -> None:
    """What goes into the token has 32 to 64 bytes (SHA-512: 64 to 128) and the HMACs of the original."""
    key = hmac_key(secret, algorithm)
    assert secret_bounds(algorithm) == bounds
    assert bounds[0] <= len(key) <= bounds[1]
    assert hmac.digest(key, message, HASHES[algorithm]) == hmac.digest(secret, message, HASHES[algorithm])


def test_a_wrapped_secret_opens_with_the_import_key() -> None:
    """The blob is RSA-OAEP (SHA-1, MGF1-SHA-1) of an AES-256 key and AES-KWP of the secret; both are new each time."""
    sha1 = hashes.SHA1()  # noqa: S303 - what SoftHSM has; see keyvault.core.wrap
    oaep = padding.OAEP(padding.MGF1(sha1), sha1, None)
    opened = []
    for _ in range(2):
        for_aes_key, for_secret = split_blob(wrap_secret(IMPORT_DER, b"secret", SHA256), 384, SHA256)
        aes_key = IMPORT_KEY.decrypt(for_aes_key, oaep)
        assert len(aes_key) == 32
        opened.append((aes_key, for_secret, aes_key_unwrap_with_padding(aes_key, for_secret)))
    (first_key, first_blob, first_secret), (second_key, second_blob, second_secret) = opened
    assert first_key != second_key
    assert first_blob != second_blob
    assert first_secret == second_secret == b"secret".ljust(32, b"\0")


@given(secret=st.binary(min_size=1, max_size=300), algorithm=st.sampled_from(HMACS))
def test_every_blob_is_within_its_bounds(secret: bytes, algorithm: KeyAlgorithm) -> None:
    """Blobs of secrets of any length for the smallest and the largest import key have a size that is accepted."""
    for der, modulus_bytes in ((IMPORT_DER, 384), (LARGE_IMPORT_DER, 512)):
        wrapped = wrap_secret(der, secret, algorithm)
        assert WRAPPED_SECRET_BYTES_MIN <= len(wrapped) <= WRAPPED_SECRET_BYTES_MAX
        assert len(split_blob(wrapped, modulus_bytes, algorithm)[0]) == modulus_bytes


@pytest.mark.parametrize(
    ("algorithm", "size"),
    [
        *((SHA256, size) for size in (0, 40, 384, 384 + 32, 384 + 39, 384 + 41, 384 + 80, 512 + 40)),
        *((SHA512, size) for size in (0, 72, 384, 384 + 40, 384 + 64, 384 + 71, 384 + 73, 384 + 144, 512 + 72)),
    ],
)
def test_a_blob_of_another_size_is_no_blob(algorithm: KeyAlgorithm, size: int) -> None:
    """Too short, too long, RSA-OAEP alone, a part that AES-KWP cannot give: each is refused with what was expected."""
    with pytest.raises(Malformed, match=f"has {size} bytes; expected: 384 of RSA-OAEP"):
        split_blob(bytes(size), 384, algorithm)


@pytest.mark.parametrize("secret", [b"s", b"s" * 56, b"s" * 65, b"s" * 300])
def test_a_blob_for_the_other_hmac_is_no_blob(secret: bytes) -> None:
    """A secret that was padded or hashed for HMAC-SHA256 is not taken for HMAC-SHA512: it would give other HMACs."""
    with pytest.raises(Malformed, match="as an HMAC_SHA512 secret has"):
        split_blob(wrap_secret(IMPORT_DER, secret, SHA256), 384, SHA512)


@pytest.mark.parametrize("algorithm", [one for one in KeyAlgorithm if one not in HMACS])
def test_only_secrets_are_wrapped(algorithm: KeyAlgorithm) -> None:
    """No private key is wrapped: pairs are generated in the token."""
    with pytest.raises(Malformed, match="only HMAC secrets are wrapped"):
        wrap_secret(IMPORT_DER, b"secret", algorithm)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"nonsense",
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        rsa.generate_private_key(65537, 2048)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_secrets_are_wrapped_for_strong_rsa_keys_only(der: bytes) -> None:
    """Anything but an RSA key of 3072 bits is refused."""
    with pytest.raises(Malformed, match="import_public_key"):
        wrap_secret(der, b"secret", SHA256)


def test_an_empty_secret_is_refused() -> None:
    """Nothing is no secret."""
    with pytest.raises(Malformed, match="secret"):
        wrap_secret(IMPORT_DER, b"", SHA256)
