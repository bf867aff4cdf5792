"""The token's anchor: kept over restarts, private, only ever growing, and replaced so that there is always one."""

from dataclasses import replace

import pytest

from keyvault.core.errors import Malformed
from keyvault.core.ids import Epoch
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.marks import Mark
from keyvault.hsm.anchor import decode_anchor, encode_anchor
from keyvault.hsm.base import ANCHOR_BEHIND, TokenFault
from tests.hsm.world import World, codes, make_key, running

MARK = Mark(incarnation=1, epoch=Epoch(2), size=57, root=b"\x0c" * 32)
TEXT = f"keyvault/anchor/v1\n1\n2\n57\n{'0c' * 32}\n"


async def test_a_token_remembers_over_restarts(world: World) -> None:
    """Nothing at first; what was written last is there in other workers, and after all of them ended."""
    async with running(replace(world.config, workers=2)) as token:
        assert token.keeps_anchor
        assert await token.read_anchor() is None
        for size in (57, 58, 58, 90):
            mark = replace(MARK, size=size)
            await token.write_anchor(mark)
            assert [await token.read_anchor() for _ in range(3)] == [mark] * 3
    async with running(world.config) as token:
        assert await token.read_anchor() == replace(MARK, size=90)


async def test_the_object_is_one_and_private(world: World) -> None:
    """Writes leave one object, which nobody sees who is not logged in, and text that any tool shows."""
    async with running(world.config) as token:
        await token.write_anchor(replace(MARK, size=1))
        await token.write_anchor(MARK)
    assert world.inspect("anchors") == {"0": {"value": TEXT, "PRIVATE": "True", "MODIFIABLE": "False", "TOKEN": "True"}}


@pytest.mark.parametrize(
    "smaller",
    [
        replace(MARK, size=56),
        replace(MARK, epoch=Epoch(1), size=99),
        replace(MARK, root=bytes(32)),
    ],
    ids=["position", "epoch", "root"],
)
async def test_a_smaller_position_or_epoch_is_refused_by_the_worker(world: World, smaller: Mark) -> None:
    """A server with an older ledger cannot make the token forget; the worker lives on."""
    async with running(world.config) as token:
        await token.write_anchor(MARK)
        with pytest.raises(TokenFault) as fault:
            await token.write_anchor(smaller)
        assert fault.value.code == ANCHOR_BEHIND
        assert await token.read_anchor() == MARK
        assert token.worker_starts == 1


async def test_a_new_incarnation_may_be_shorter(world: World) -> None:
    """Members gave up what was lost: from then on the anchor is that of the new history."""
    async with running(world.config) as token:
        await token.write_anchor(MARK)
        later = replace(MARK, incarnation=2, epoch=Epoch(3), size=40)
        await token.write_anchor(later)
        assert await token.read_anchor() == later
        with pytest.raises(TokenFault):
            await token.write_anchor(replace(MARK, size=99, epoch=Epoch(9)))


async def test_signing_goes_on_beside_it(world: World) -> None:
    """Keys sign while anchors are written, and no worker is lost."""
    async with running(replace(world.config, workers=2, lanes_per_worker=2)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        for size in range(20):
            await token.write_anchor(replace(MARK, size=size))
            assert [codes(await lane.sign([item])) for lane in token.lanes] == [["signed"]] * 4
        assert token.worker_starts == 2


async def test_who_has_the_pin_can_make_a_token_forget(world: World) -> None:
    """What is in a token guards against an old ledger, and not against whoever is logged in there."""
    async with running(world.config) as token:
        await token.write_anchor(MARK)
    world.inspect("forget-anchor")
    async with running(world.config) as token:
        assert await token.read_anchor() is None


@pytest.mark.parametrize("value", [b"", b"x", TEXT.encode()[:-1], TEXT.replace("57", "057").encode()])
def test_another_value_is_no_anchor(value: bytes) -> None:
    """Only what keyvault wrote, to the last byte, is believed."""
    assert encode_anchor(MARK).decode() == TEXT
    assert decode_anchor(TEXT.encode()) == MARK
    with pytest.raises(Malformed):
        decode_anchor(value)
