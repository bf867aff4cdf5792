"""I6: keys stay in tokens."""

import pytest

from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm import templates
from tests.hsm.world import HMACS, World, make_key, running

READ = {"AttributeSensitive"}
STAYS = {"AttributeReadOnly", "PKCS11Error"}  # the latter is CKR_ACTION_PROHIBITED: the object is not modifiable
FOR_EVER = ("PRIVATE", "SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")
NEVER_OUT = {"KeyUnextractable", "KeyNotWrappable", "PKCS11Error"}
SIGNS_ONLY = {"SIGN": "True", "ENCRYPT": "False", "DECRYPT": "False", "WRAP": "False", "UNWRAP": "False"}


async def test_generated_keys_cannot_leave_the_token(world: World) -> None:
    """Private keys are sensitive and unextractable for ever; reading, wrapping and revealing them fails (I6)."""
    async with running(world.config) as token:
        for algorithm in (KeyAlgorithm.SECP256K1, KeyAlgorithm.P256, KeyAlgorithm.ED25519):
            await make_key(token, world, algorithm)
    found = world.inspect()
    assert set(found) == {"key-SECP256K1", "key-P256", "key-ED25519", "keyvault-log-key", "keyvault-import-key"}
    for about in found.values():
        assert (
            about["PRIVATE"] == about["SENSITIVE"] == about["ALWAYS_SENSITIVE"] == about["NEVER_EXTRACTABLE"] == "True"
        )
        assert about["EXTRACTABLE"] == about["DERIVE"] == about["DECRYPT"] == "False"
        assert about["read"] in READ
        assert about["wrap"] in NEVER_OUT
        assert about["reveal"] in STAYS


async def test_each_key_has_one_use(world: World) -> None:
    """Signing keys sign and do nothing else; the import key unwraps and does nothing else."""
    async with running(world.config) as token:
        await make_key(token, world, KeyAlgorithm.P256)
    found = world.inspect()
    assert (found["key-P256"]["SIGN"], found["key-P256"]["UNWRAP"]) == ("True", "False")
    assert (found["keyvault-import-key"]["SIGN"], found["keyvault-import-key"]["UNWRAP"]) == ("False", "True")


@pytest.mark.parametrize("algorithm", HMACS)
async def test_imported_secrets_cannot_leave_the_token(world: World, algorithm: KeyAlgorithm) -> None:
    """An HMAC secret is sensitive and unextractable, signs and verifies, and cannot be read or wrapped (I6)."""
    async with running(world.config) as token:
        await make_key(token, world, algorithm)
    about = world.inspect()[f"key-{algorithm}"]
    assert {name: about[name] for name in SIGNS_ONLY} == SIGNS_ONLY
    assert (about["PRIVATE"], about["SENSITIVE"], about["EXTRACTABLE"], about["DERIVE"]) == (
        "True",
        "True",
        "False",
        "False",
    )
    assert about["read"] in READ
    assert about["wrap"] in NEVER_OUT
    assert about["reveal"] in STAYS


def test_a_key_that_is_not_secret_is_destroyed(world: World) -> None:
    """When a token makes an extractable key, it is refused and nothing of it stays (I6)."""
    assert world.inspect("leaky")["leaky"] == {"code": "NOT_SECRET", "left": "0"}


def test_the_token_folder_is_private(world: World) -> None:
    """Nobody else can read the token's files, the PINs or the configuration's folder of objects."""
    created = world.created
    assert created.pin_file.stat().st_mode & 0o777 == 0o600
    assert created.so_pin_file.stat().st_mode & 0o777 == 0o600
    assert (world.folder / "tokens").stat().st_mode & 0o777 == 0o700
    for path in (world.folder / "tokens").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("half", ["public", "private"])
def test_templates_say_every_use(half: str) -> None:
    """Every template states each usage attribute of its class; none is left to a default."""
    pairs = [templates.signing_pair(b"k", one, stored=True) for one in templates.EC_PARAMETERS]
    pairs.append(templates.unwrapping_pair(b"k"))
    uses = {"public": {"ENCRYPT", "VERIFY", "WRAP"}, "private": {"DECRYPT", "SIGN", "UNWRAP", "DERIVE"}}[half]
    common = {"ID", "LABEL", "TOKEN", "PRIVATE", "MODIFIABLE"}
    for pair in pairs:
        assert uses | common <= set(getattr(pair, half))
