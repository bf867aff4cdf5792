"""I6 while keys move: what objects say of themselves in each token, and what is left in a worker's memory."""

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm
from keyvault.core.wrap import wrap_secret
from keyvault.hsm import templates
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.locked import locked_buffer
from tests.hsm.moving import MOVED, Moved, all_running, moved, refused
from tests.hsm.test_secrecy import READ
from tests.hsm.test_wrapping_key import KNOWN, check_of, wrapped_for
from tests.hsm.world import SECRET, World

Worlds = tuple[World, ...]
P256, ED25519 = KeyAlgorithm.P256, KeyAlgorithm.ED25519
SIGNING = {
    "PRIVATE": "True",
    "SENSITIVE": "True",
    "SIGN": "True",
    "DECRYPT": "False",
    "UNWRAP": "False",
    "DERIVE": "False",
    "TOKEN": "True",
}
NOTHING = dict.fromkeys(("SIGN", "VERIFY", "ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "DERIVE"), "False")
BYTES_OF_CONTENT = {KeyAlgorithm.SECP256K1: 64, P256: 67}
"""PKCS#8 as SoftHSM writes it ends with the private number; P-256's is filled up with zeros to 72 bytes."""


def said(about: dict[str, str], expected: dict[str, str]) -> dict[str, str]:
    """Return what an object says of the attributes that are expected."""
    return {name: about[name] for name in expected}


def memory(pid: int) -> bytes:
    """Return all memory that a process can read, as a debugger with every right would see it."""
    content = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            first, last = (int(number, 16) for number in span.split("-"))
            if not rights.startswith("r") or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            file.seek(first)
            content += file.read(last - first)
    return bytes(content)


def memory_after_moving(world: World, algorithm: KeyAlgorithm) -> tuple[Moved, bytes]:
    """Return a key and the memory of a process that made, wrapped, destroyed and copied it, as a worker does."""
    key = world.created.import_public_key
    secret = wrap_secret(key, SECRET, algorithm).hex() if algorithm in HMAC_ALGORITHMS else ""
    command, environment = (*world.inspector, "move", algorithm, secret), world.inspector_environment
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = {name: bytes.fromhex(text) for name, text in json.loads(process.stdout.readline()).items()}
        content = memory(process.pid)
        process.stdin.close()
    item = SignItem(object_id=b"moving", algorithm=algorithm, public_key=told["identity"], input=b"")
    return Moved(item=item, identity=told["identity"], blob=told["blob"]), content


def pieces(secret: bytes, content: bytes) -> list[int]:
    """Return which parts of 12 bytes of a secret are there: what is freed is overwritten in part by the allocator."""
    return [start for start in range(0, len(secret) - 11, 4) if secret[start : start + 12] in content]


def secret_of(key: Moved) -> bytes:
    """Return the secret part of a key that was wrapped under KNOWN."""
    content = aes_key_unwrap_with_padding(KNOWN, key.blob)
    if key.item.algorithm in HMAC_ALGORITHMS:
        return SECRET
    return content[: BYTES_OF_CONTENT.get(key.item.algorithm, 32)][-32:]


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
async def test_a_copy_may_do_what_the_original_may(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """In both tokens the key is sensitive, signs and does nothing else, cannot be read, and never was less."""
    first, second, _ = joined
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, algorithm)
        await key.into(other)
    name = f"key-{algorithm}"
    extractable = {"EXTRACTABLE": str(algorithm is not ED25519)}
    for world in (first, second):
        about = world.inspect()[name]
        assert said(about, SIGNING | extractable) == SIGNING | extractable
        assert about["read"] in READ
    original, copy = first.inspect()[name], second.inspect()[name]
    different = {one for one in original if original[one] != copy[one]}
    assert different <= {"ALWAYS_SENSITIVE", "wrap", "reveal"}  # a copy was outside; and it stays modifiable


async def test_a_sealed_seed_does_nothing_but_be_wrapped(joined: Worlds) -> None:
    """Beside an Ed25519 key lies its seed, sensitive, without any use, in both tokens; the key itself cannot leave."""
    first, second, _ = joined
    async with all_running(first, second) as (token, other):
        await (await moved(token, first, ED25519)).into(other)
    for world in (first, second):
        found = world.inspect()
        assert found["key-ED25519"]["wrap"] in {"KeyUnextractable", "KeyNotWrappable"}
        seed = found["key-ED25519 (seed)"]
        assert said(seed, NOTHING) == NOTHING
        assert (seed["PRIVATE"], seed["SENSITIVE"], seed["EXTRACTABLE"]) == ("True", "True", "True")
        assert seed["id"] == "key-ED25519"
        assert seed["read"] in READ


async def test_the_wrapping_key_wraps_and_unwraps_only(joined: Worlds) -> None:
    """In the token that made it and in those that got it, it is sensitive and could decrypt or sign nothing."""
    expected = {**NOTHING, "WRAP": "True", "UNWRAP": "True", "PRIVATE": "True", "SENSITIVE": "True"}
    for world in joined:
        assert said(world.inspect()["keyvault-wrapping-key"], expected) == expected
    for world in joined[1:]:
        transport = world.inspect()["keyvault-transport-key"]
        assert said(transport, {"SIGN": "", "UNWRAP": "", "EXTRACTABLE": "", "NEVER_EXTRACTABLE": ""}) == {
            "SIGN": "False",
            "UNWRAP": "True",
            "EXTRACTABLE": "False",
            "NEVER_EXTRACTABLE": "True",
        }


async def test_a_wrapping_key_that_could_decrypt_is_not_used(apart: Worlds) -> None:
    """Another program's key under the name, with one use too many: nothing is wrapped under it, and none is made."""
    world = apart[0]
    world.inspect("plant-wrapping-key")
    async with all_running(world) as (token,):
        item = SignItem(object_id=b"k", algorithm=P256, public_key=b"", input=bytes(32))
        assert await refused(token, Moved(item=item, identity=bytes(65), blob=bytes(80))) == "NOT_SECRET"
        for call in (token.create_wrapping_key(), token.generate(b"k", P256), token.wrapping_key_check()):
            with pytest.raises(TokenFault) as fault:
                await call
            assert fault.value.code == "NOT_SECRET"


@pytest.mark.parametrize("algorithm", MOVED)
async def test_what_moves_a_key_keeps_nothing_of_it(apart: Worlds, algorithm: KeyAlgorithm) -> None:
    """A key was made, wrapped, destroyed and copied in: the process that did it has no piece of it in its memory.

    Where the token wraps it, it never was outside the module; the seed of an Ed25519 key was erased.
    """
    world = apart[0]
    async with all_running(world) as (token,):
        await token.import_wrapping_key(await wrapped_for(token, KNOWN), check_of(KNOWN))
    key, content = memory_after_moving(world, algorithm)
    secret = secret_of(key)
    if algorithm is ED25519:
        assert ed25519.Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() == key.identity
    assert key.item.object_id in content  # the search does find what is there
    assert not pieces(secret, content)
    assert not pieces(secret[::-1], content)  # as OpenSSL has numbers
    assert not pieces(KNOWN, content)


def test_a_locked_buffer_is_zero_afterwards() -> None:
    """Whatever ends the block."""
    kept = []

    def failing() -> None:
        with locked_buffer(32) as buffer:
            buffer.raw = b"k" * 32
            kept.append(buffer)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert kept[0].raw == bytes(32)


def test_templates_of_moving_keys_say_every_use() -> None:
    """As those of all other keys: none of a copy, a seed, or the wrapping key is left to a default."""
    way = templates.WayOut(wrapped=True, with_trusted=True)
    common = {"ID", "LABEL", "TOKEN", "PRIVATE", "SENSITIVE", "EXTRACTABLE", "WRAP_WITH_TRUSTED"}
    private = {"DECRYPT", "SIGN", "UNWRAP", "DERIVE"}
    secret = private | {"ENCRYPT", "VERIFY", "WRAP"}
    assert common | private <= set(templates.private_copy(b"k", way=way))
    assert common | private <= {*templates.private_of_seed(b"k", stored=True), "WRAP_WITH_TRUSTED"}
    for template in (templates.sealed_seed(b"k", way=way), templates.hmac_secret(b"k", stored=True, way=way)):
        assert common | secret <= set(template)
    for template in (templates.wrapping_key(), templates.readable_seed(), templates.check_secret()):
        assert (common - {"WRAP_WITH_TRUSTED"}) | secret <= set(template)
    unreadable = {name for name, value in templates.readable_seed().items() if value is False}
    assert unreadable == {*secret, "SENSITIVE", "TOKEN"}
