"""Destroying objects: nothing of them signs or is found afterwards, on any lane of any worker."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.base import IMPORT_KEY_OBJECT_ID, LOG_KEY_OBJECT_ID, SignItem, TokenFault
from keyvault.hsm.supervisor import TokenSupervisor
from tests.hsm.test_faults import SHORT_MS, children
from tests.hsm.world import World, codes, make_key, running

GONE = ["OBJECT_NOT_FOUND"]


async def on_every_lane(token: TokenSupervisor, item: SignItem) -> list[list[str]]:
    """Return what each lane answers when it is asked for one signature."""
    return [codes(await lane.sign([item])) for lane in token.lanes]


async def refusal(token: TokenSupervisor, item: SignItem) -> str:
    """Return the code with which the destruction of an item's key is refused."""
    with pytest.raises(TokenFault) as fault:
        await token.destroy(item.object_id, item.algorithm)
    return fault.value.code


def files(world: World) -> set[str]:
    """Return the names of the token's object files."""
    return {path.name for path in (world.folder / "tokens").rglob("*.object")}


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
async def test_no_lane_signs_with_a_destroyed_key(world: World, algorithm: KeyAlgorithm) -> None:
    """Lanes that signed with the key find it no more; no object of it is left, no worker is lost, other keys sign."""
    before = files(world)
    async with running(replace(world.config, workers=2, lanes_per_worker=2)) as token:
        item = await make_key(token, world, algorithm)
        other_before = files(world)
        other = await make_key(token, world, algorithm, b"other")
        mine = other_before - before
        for one in (item, other):
            assert await on_every_lane(token, one) == [["signed"]] * 4
        await token.destroy(item.object_id, algorithm)
        assert await on_every_lane(token, item) == [GONE] * 4
        assert await on_every_lane(token, other) == [["signed"]] * 4
        assert token.worker_starts == 2
    assert mine
    assert not mine & files(world)
    assert files(world) > before
    assert f"key-{algorithm}" not in world.inspect()


async def test_a_destroyed_key_stays_destroyed(world: World) -> None:
    """Destroying again is fine, in the same workers and after a restart, and so is destroying what never was."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.SECP256K1)
        for _ in range(2):
            await token.destroy(item.object_id, item.algorithm)
    async with running(world.config) as token:
        assert await on_every_lane(token, item) == [GONE]
        await token.destroy(item.object_id, item.algorithm)
        await token.destroy(b"never-was", KeyAlgorithm.HMAC_SHA256)


@pytest.mark.parametrize("object_id", [LOG_KEY_OBJECT_ID, IMPORT_KEY_OBJECT_ID])
async def test_the_keys_of_the_enclave_are_never_destroyed(world: World, object_id: bytes) -> None:
    """Log key and import key are refused, and still there."""
    async with running(world.config) as token:
        with pytest.raises(TokenFault) as fault:
            await token.destroy(object_id, KeyAlgorithm.ED25519)
    assert fault.value.code == "OBJECT_KEPT"
    assert set(world.inspect()) == {"keyvault-log-key", "keyvault-import-key"}


@pytest.mark.parametrize(
    ("algorithm", "named"),
    [
        (KeyAlgorithm.P256, KeyAlgorithm.SECP256K1),
        (KeyAlgorithm.SECP256K1, KeyAlgorithm.HMAC_SHA256),
        (KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.ED25519),
        (KeyAlgorithm.HMAC_SHA512, KeyAlgorithm.P256),
    ],
)
async def test_a_key_of_another_algorithm_is_not_destroyed(
    world: World, algorithm: KeyAlgorithm, named: KeyAlgorithm
) -> None:
    """When the object is not what the ledger says, nothing of it is touched."""
    before = files(world)
    async with running(world.config) as token:
        item = await make_key(token, world, algorithm)
        objects = files(world)
        assert await refusal(token, replace(item, algorithm=named)) == "OBJECT_MISMATCH"
        assert await on_every_lane(token, item) == [["signed"]]
        assert files(world) == objects > before


async def test_a_handle_that_means_another_key_is_not_used(world: World) -> None:
    """When the token gives the number of a destroyed secret to another one, no lane answers with the other's HMACs."""
    async with running(replace(world.faulty("reuse"), workers=2)) as token:
        item = await make_key(token, world, KeyAlgorithm.HMAC_SHA256)
        other = await make_key(token, world, KeyAlgorithm.HMAC_SHA256, b"other")
        for one in (item, other):
            assert await on_every_lane(token, one) == [["signed"]] * 2
        await token.destroy(item.object_id, item.algorithm)
        world.trigger.touch()
        assert await on_every_lane(token, item) == [GONE] * 2
        assert await on_every_lane(token, other) == [["signed"]] * 2


async def test_lanes_at_work_stop_signing(world: World) -> None:
    """While all lanes sign with the key it is destroyed: every later answer is OBJECT_NOT_FOUND, no worker is lost."""
    async with running(replace(world.config, workers=2, lanes_per_worker=2)) as token:
        item = await make_key(token, world, KeyAlgorithm.SECP256K1)
        destroyed = asyncio.Event()
        later: list[str] = []

        async def work(position: int) -> None:
            while not destroyed.is_set():
                assert set(codes(await token.lanes[position].sign([item] * 8))) <= {"signed", *GONE}
            later.extend(codes(await token.lanes[position].sign([item] * 8)))

        workers = [asyncio.ensure_future(work(position)) for position in range(4)]
        await token.destroy(item.object_id, item.algorithm)
        destroyed.set()
        await asyncio.gather(*workers)
        assert later == GONE * 32
        assert token.worker_starts == 2


async def test_a_crash_between_the_halves_is_made_good(world: World) -> None:
    """SIGKILL after the private half: nobody signs any more, and destroying again removes the public half."""
    before = files(world)
    async with running(world.faulty("destroy-dies")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        assert await refusal(token, item) == "WORKER_DIED"
        assert len(files(world) - before) == 1
        await token.lanes[0].ready()
        assert await on_every_lane(token, item) == [GONE]
        await token.destroy(item.object_id, item.algorithm)
        assert files(world) == before


async def test_an_object_that_stays_is_found_out(world: World) -> None:
    """When the token says yes and destroys nothing, the search finds the object, and it is no success."""
    async with running(world.faulty("destroy-lies")) as token:
        item = await make_key(token, world, KeyAlgorithm.ED25519)
        world.trigger.touch()
        assert await refusal(token, item) == "OBJECT_LEFT"
        await token.destroy(item.object_id, item.algorithm)
        assert await on_every_lane(token, item) == [GONE]


async def test_who_is_logged_out_does_not_see_what_is_left(world: World) -> None:
    """A search without login finds no private object; that is not taken for a destroyed key."""
    async with running(world.faulty("destroy-logs-out")) as token:
        item = await make_key(token, world, KeyAlgorithm.HMAC_SHA256)
        world.trigger.touch()
        assert await refusal(token, item) == "USER_NOT_LOGGED_IN"
        await token.lanes[0].ready()
        assert await on_every_lane(token, item) == [["signed"]]
        await token.destroy(item.object_id, item.algorithm)
        assert await on_every_lane(token, item) == [GONE]


async def test_a_session_that_is_stale_costs_nothing(world: World) -> None:
    """CKR_FUNCTION_FAILED once: destroyed in a new session by the same worker."""
    async with running(world.faulty("destroy-fails")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        await token.destroy(item.object_id, item.algorithm)
        assert not world.trigger.exists()
        assert await on_every_lane(token, item) == [GONE]
        assert token.worker_starts == 1


@pytest.mark.parametrize("hung", [0, 1])
async def test_every_lane_that_is_up_must_agree(world: World, hung: int) -> None:
    """One of two workers hangs, whichever: it is no success; once the worker was replaced it is."""
    async with running(replace(world.config, workers=2, deadline_ms=SHORT_MS)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        os.kill(sorted(children())[hung], signal.SIGSTOP)
        assert await refusal(token, item) == "DEADLINE"
        await asyncio.gather(*(lane.ready() for lane in token.lanes))
        await token.destroy(item.object_id, item.algorithm)
        assert await on_every_lane(token, item) == [GONE] * 2


async def test_a_worker_that_is_down_is_not_waited_for(world: World) -> None:
    """A worker that cannot start delays nothing, and does not find the key when it comes up."""
    hidden = world.folder / "hidden.pin"
    async with running(replace(world.faulty("die"), workers=2)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        assert await on_every_lane(token, item) == [["signed"]] * 2
        world.created.pin_file.rename(hidden)
        world.trigger.touch()
        assert codes(await token.lanes[1].sign([item])) == ["WORKER_DIED"]
        await token.destroy(item.object_id, item.algorithm)
        assert not token.lanes[1].has_worker
        assert codes(await token.lanes[0].sign([item])) == GONE
        hidden.rename(world.created.pin_file)
        await token.lanes[1].ready()
        assert await on_every_lane(token, item) == [GONE] * 2


async def test_an_id_that_was_struck_out_is_forgotten(world: World) -> None:
    """A key that never fitted its public key is, once destroyed, simply not there."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        other = await make_key(token, world, KeyAlgorithm.P256, b"other")
        wrong = replace(item, public_key=other.public_key)
        for _ in range(3):
            await token.lanes[0].ready()
            assert codes(await token.lanes[0].sign([wrong])) == ["WRONG_SIGNATURE"]
        await token.destroy(item.object_id, item.algorithm)
        assert await on_every_lane(token, wrong) == [GONE]
