"""A token that begins with nothing gets everything of another one: wrapping key, log key, import key."""

import stat
from pathlib import Path

import pytest

from keyvault.core.keys import KeyAlgorithm, KeyTransport, SealedRoots
from keyvault.core.wrap import wrap_secret
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, SignItem, TokenFault
from keyvault.hsm.create import CreatedToken, EmptyToken, create_empty_token, create_token
from tests.hsm.moving import all_running, flipped, join, signature
from tests.hsm.world import DIGEST, SECRET, SHA256, World

ED25519 = KeyAlgorithm.ED25519


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> CreatedToken:
    """The first token of an enclave whose keys move; nothing may be changed in it."""
    return create_token(tmp_path_factory.mktemp("first") / "token", "hot", key_transport=KeyTransport.KWP)


def _world(place: EmptyToken, first: CreatedToken) -> World:
    fields = ("module", "label", "softhsm2_conf", "pin_file", "so_pin_file")
    created = CreatedToken(
        **{name: getattr(place, name) for name in fields},
        log_public_key=first.log_public_key,
        import_public_key=first.import_public_key,
    )
    return World(folder=place.pin_file.parent, created=created)


def _sealed(token: CreatedToken) -> SealedRoots:
    assert token.sealed is not None
    return token.sealed


def test_the_log_key_says_how_it_leaves(first: CreatedToken) -> None:
    """SoftHSM 2.6 wraps no Ed25519 key: the first token says that the log key's seed was in clear in a worker."""
    assert _sealed(first).log_key_plaintext
    assert len(_sealed(first).log_key) == 40


def test_without_kwp_nothing_is_sealed(tmp_path: Path) -> None:
    """A token of an enclave whose keys stay has no blobs to give."""
    assert create_token(tmp_path / "token", "hot").sealed is None


def test_an_empty_token_has_pins_and_no_key(tmp_path: Path, first: CreatedToken) -> None:
    """The files are private and the token is empty: no object in it."""
    place = create_empty_token(tmp_path / "second", "hot")
    assert stat.S_IMODE(place.pin_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.so_pin_file.stat().st_mode) == 0o600
    assert _world(place, first).inspect() == {}


async def test_an_empty_token_becomes_the_same(tmp_path: Path, first: CreatedToken) -> None:
    """It signs with the log key, and opens what is wrapped for the enclave's import key; each step twice is fine."""
    sealed = _sealed(first)
    second = _world(create_empty_token(tmp_path / "second", "hot"), first)
    async with all_running(_world(first, first), second) as (one, other):
        await join(one, other)
        assert await other.wrapping_key_check() == sealed.wrapping_key_check
        for _ in range(2):
            await other.unwrap_copy(
                LOG_KEY_OBJECT_ID, ED25519, sealed.log_key, first.log_public_key, plaintext_transport=True
            )
            await other.unwrap_import_copy(sealed.import_key, first.import_public_key)
        item = SignItem(object_id=LOG_KEY_OBJECT_ID, algorithm=ED25519, public_key=first.log_public_key, input=DIGEST)
        assert await signature(other, item)
        await other.unwrap(b"hmac", SHA256, wrap_secret(first.import_public_key, SECRET, SHA256))
        assert await other.wrap_import_key() == sealed.import_key


async def test_a_wrong_import_key_does_not_stay(tmp_path: Path, first: CreatedToken) -> None:
    """A blob that is damaged, and one that is another enclave's public key, leave nothing."""
    sealed = _sealed(first)
    another = create_token(tmp_path / "another", "hot", key_transport=KeyTransport.KWP)
    second = _world(create_empty_token(tmp_path / "second", "hot"), first)
    async with all_running(_world(first, first), second) as (one, other):
        await join(one, other)
        wrong = (
            (flipped(sealed.import_key, 100), first.import_public_key, "UNWRAP_REFUSED"),
            (sealed.import_key, another.import_public_key, "COPY_NOT_PROVEN"),
            (_sealed(another).import_key, another.import_public_key, "UNWRAP_REFUSED"),
        )
        for blob, public_key, code in wrong:
            with pytest.raises(TokenFault) as fault:
                await other.unwrap_import_copy(blob, public_key)
            assert fault.value.code == code
        with pytest.raises(TokenFault) as fault:
            await other.wrap_import_key()
        assert fault.value.code == "OBJECT_NOT_FOUND"
