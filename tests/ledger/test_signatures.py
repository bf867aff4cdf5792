"""What can be said of a signature without a token."""

import hmac

import pytest

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, Signature
from keyvault.core.wrap import HASHES
from keyvault.ledger.errors import Unproven
from keyvault.ledger.signatures import verify_signature

BYTES = {KeyAlgorithm.HMAC_SHA256: 32, KeyAlgorithm.HMAC_SHA512: 64}


@pytest.mark.parametrize("algorithm", sorted(HMAC_ALGORITHMS))
def test_an_hmac_is_neither_proven_nor_denied(algorithm: KeyAlgorithm) -> None:
    """An HMAC of the right length, right or wrong, needs the secret to check it."""
    for value in (hmac.digest(b"secret", b"message", HASHES[algorithm]), bytes(BYTES[algorithm])):
        assert not verify_signature(algorithm, b"", b"message", Signature(value=value))


@pytest.mark.parametrize("algorithm", sorted(HMAC_ALGORITHMS))
def test_an_hmac_of_another_form_is_none(algorithm: KeyAlgorithm) -> None:
    """Another length, the other HMAC's among them, and a recovery id are refused."""
    right = BYTES[algorithm]
    for size in {0, right - 1, right + 1, *BYTES.values()} - {right}:
        with pytest.raises(Unproven, match=f"{right} are right for its key"):
            verify_signature(algorithm, b"", b"message", Signature(value=bytes(size)))
    with pytest.raises(Unproven, match="recovery id"):
        verify_signature(algorithm, b"", b"message", Signature(value=bytes(right), recovery_id=0))
