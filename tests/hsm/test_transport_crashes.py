"""A worker that is killed in the middle of moving keys: whatever it left, doing it again succeeds."""

import struct
from collections.abc import Awaitable, Callable, Iterator

import pytest

from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.base import TokenFault
from keyvault.hsm.supervisor import TokenSupervisor
from tests.hsm.moving import Moved, all_running, join, kwp, moved, objects, refused, signature
from tests.hsm.world import SHA256, World, running

Worlds = tuple[World, ...]
P256, ED25519 = KeyAlgorithm.P256, KeyAlgorithm.ED25519
PROCESSED = ("before", "after")
CKA_CLASS, CKO_PRIVATE_KEY = 0x0, 3
NUMBERS = frozenset({0x11, 0x120, 0x122, 0x123, 0x124, 0x125, 0x126, 0x127, 0x128, 0x180})
"""CKA_VALUE, CKA_MODULUS to CKA_COEFFICIENT, CKA_EC_PARAMS."""


async def interrupted(world: World, fault: str, action: Callable[[TokenSupervisor], Awaitable[object]]) -> object:
    """Do it with a worker that dies in it, and again with its replacement; return what that gave."""
    async with running(kwp(world.faulty(fault))) as token:
        world.trigger.touch()
        with pytest.raises(TokenFault) as died:
            await action(token)
        assert died.value.code == "WORKER_DIED"
        assert not world.trigger.exists()
        await token.lanes[0].ready()
        result = await action(token)
        assert token.worker_starts == 2
        return result


def attributes_of(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give type, kind and value of each attribute in an object file of SoftHSM (ObjectFile.cpp), after its counter."""
    place = 8
    while place < len(content):
        number, kind = struct.unpack_from(">QQ", content, place)
        place += 16
        size = {1: 1, 2: 8}.get(kind) or 8 + int.from_bytes(content[place : place + 8], "big") * (8 if kind == 5 else 1)
        yield number, kind, content[place : place + size]
        place += size


def leave_unfinished(world: World, new: set[str]) -> None:
    """Make the private key among these object files what a crash leaves between SoftHSM's two steps: a name."""
    for path in (world.folder / "tokens").rglob("*.object"):
        content = path.read_bytes()
        found = list(attributes_of(content))
        if path.name not in new or (CKA_CLASS, 2, CKO_PRIVATE_KEY.to_bytes(8, "big")) not in found:
            continue
        emptied = [(number, kind, bytes(8) if number in NUMBERS else value) for number, kind, value in found]
        path.write_bytes(content[:8] + b"".join(struct.pack(">QQ", *one[:2]) + one[2] for one in emptied))


@pytest.mark.parametrize("algorithm", [P256, ED25519])
async def test_a_pair_that_a_crash_left_unfinished_is_made_anew(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """A private key that has a name but no numbers is no key: with any strategy it is made again, and signs."""
    first = joined[0]
    for name, config in ((b"moves", kwp(first.config)), (b"stays", first.config)):
        before = objects(first)
        async with running(config) as token:
            lost = await token.generate(name, algorithm)
        made = objects(first) - before
        leave_unfinished(first, made)
        async with running(config) as token:
            public_key = await token.generate(name, algorithm)
            assert public_key != lost
            assert await token.generate(name, algorithm) == public_key
            await token.prove(name, algorithm, public_key, bytes(32))
        assert len(objects(first) - before) == len(made) == 2


async def test_a_transport_key_that_a_crash_left_unfinished_is_made_anew(apart: Worlds) -> None:
    """As a signing key; and what is wrapped for it opens."""
    first, second, _ = apart
    before = objects(second)
    async with all_running(second) as (other,):
        lost = await other.transport_public_key()
    leave_unfinished(second, objects(second) - before)
    async with all_running(first, second) as (token, other):
        assert await other.transport_public_key() != lost
        await token.create_wrapping_key()
        await join(token, other)
    assert len(objects(second) - before) == 3


@pytest.mark.parametrize(
    ("when", "call"), [("after", "C_GenerateKey"), ("before", "C_CopyObject"), ("after", "C_CopyObject")]
)
async def test_making_a_wrapping_key(apart: Worlds, when: str, call: str) -> None:
    """Killed while the wrapping key is made: there is one in the end, and it works."""
    world = apart[0]
    before = len(objects(world))
    await interrupted(world, f"dies-{when}:{call}:1", lambda token: token.create_wrapping_key())
    assert len(objects(world)) == before + 1
    async with all_running(world) as (token,):
        await signature(token, (await moved(token, world, P256)).item)


@pytest.mark.parametrize("when", PROCESSED)
async def test_making_a_transport_key(apart: Worlds, when: str) -> None:
    """Killed while the RSA pair is made: there is one in the end, and it opens what is wrapped for it."""
    first, second, _ = apart
    before = len(objects(second))
    der = await interrupted(second, f"dies-{when}:C_GenerateKeyPair:1", lambda token: token.transport_public_key())
    assert isinstance(der, bytes)
    assert len(objects(second)) == before + 2
    async with all_running(first, second) as (token, other):
        await token.create_wrapping_key()
        await other.import_wrapping_key(await token.export_wrapping_key(der), await token.wrapping_key_check())


@pytest.mark.parametrize(
    ("when", "call"),
    [("after", "C_UnwrapKey"), ("after", "C_WrapKey"), ("before", "C_CopyObject"), ("after", "C_CopyObject")],
)
async def test_taking_a_wrapping_key_in(apart: Worlds, when: str, call: str) -> None:
    """Killed while another token's wrapping key is taken in: there is one in the end, the right one."""
    first, second, _ = apart
    async with all_running(first, second) as (token, other):
        await token.create_wrapping_key()
        check = await token.wrapping_key_check()
        blob = await token.export_wrapping_key(await other.transport_public_key())
    before = len(objects(second))
    await interrupted(second, f"dies-{when}:{call}:1", lambda other: other.import_wrapping_key(blob, check))
    assert len(objects(second)) == before + 1
    async with all_running(second) as (other,):
        assert await other.wrapping_key_check() == check


@pytest.mark.parametrize("algorithm", [P256, ED25519, SHA256])
async def test_wrapping(joined: Worlds, algorithm: KeyAlgorithm) -> None:
    """Killed while a key or the wrapping key is wrapped: nothing was changed, and it is wrapped the next time."""
    first, second, _ = joined
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, algorithm)
        to = await other.transport_public_key()
    before = objects(first)
    fault, name = "dies-after:C_WrapKey:1", key.item.object_id
    assert await interrupted(first, fault, lambda token: token.wrap(name, algorithm)) == key.blob
    await interrupted(first, fault, lambda token: token.export_wrapping_key(to))
    await interrupted(first, fault, lambda token: token.wrapping_key_check())
    assert objects(first) == before


COPIES = [
    *(
        (P256, when, call, 1)
        for when, call in (
            ("after", "C_UnwrapKey"),
            ("after", "C_Sign"),
            ("after", "C_CreateObject"),
            ("before", "C_CopyObject"),
            ("after", "C_CopyObject"),
        )
    ),
    *((SHA256, when, call, 1) for when, call in (("after", "C_UnwrapKey"), ("after", "C_CopyObject"))),
    (ED25519, "after", "C_UnwrapKey", 1),
    (ED25519, "after", "C_DestroyObject", 1),
    *((ED25519, "after", "C_CreateObject", number) for number in (1, 2, 3, 4)),
]


@pytest.mark.parametrize(("algorithm", "when", "call", "number"), COPIES)
async def test_making_a_copy(joined: Worlds, algorithm: KeyAlgorithm, when: str, call: str, number: int) -> None:
    """Killed while a copy is made: in the end it is there once, signs, and can be moved on; no other key is hurt."""
    first, second, third = joined
    async with all_running(first, second) as (token, other):
        key = await moved(token, first, algorithm)
        bystander = await moved(token, first, P256, b"bystander")
        await bystander.into(other)
        clean = len(objects(second))
        await key.into(other)
        added = len(objects(second)) - clean
        await other.destroy(key.item.object_id, algorithm)
    await interrupted(second, f"dies-{when}:{call}:{number}", key.into)
    assert len(objects(second)) == clean + added
    async with all_running(second, third) as (other, another):
        await signature(other, key.item)
        await signature(other, bystander.item)
        assert await other.wrap(key.item.object_id, algorithm) == key.blob
        await key.into(another)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_making_a_key_from_a_seed(joined: Worlds, number: int) -> None:
    """Killed while an Ed25519 key with a sealed seed is made: in the end there is one, complete."""
    first, second, _ = joined
    before = len(objects(first))

    async def generate(token: TokenSupervisor) -> bytes:
        return await token.generate(b"k", ED25519, plaintext_transport=True)

    public_key = await interrupted(first, f"dies-after:C_CreateObject:{number}", generate)
    assert isinstance(public_key, bytes)
    assert len(objects(first)) == before + 3
    async with all_running(first, second) as (token, other):
        assert await generate(token) == public_key
        await other.unwrap_copy(b"k", ED25519, await token.wrap(b"k", ED25519), public_key, plaintext_transport=True)
        await other.prove(b"k", ED25519, public_key, bytes(32))


async def test_a_wrong_blob_and_a_crash_block_nothing(joined: Worlds) -> None:
    """Killed while a blob of another key is tried: it was not stored, so the right one finds its place free."""
    first, second, _ = joined
    before = objects(second)
    async with all_running(first) as (token,):
        key = await moved(token, first, P256)
        another = await moved(token, first, P256, b"another")
    wrong = Moved(item=key.item, identity=key.identity, blob=another.blob)
    async with running(kwp(second.faulty("dies-after:C_Sign:1"))) as other:
        second.trigger.touch()
        assert await refused(other, wrong) == "WORKER_DIED"
        assert objects(second) == before
        await other.lanes[0].ready()
        await key.into(other)
        await signature(other, key.item)
