"""What a failing token costs: one worker, and the batch that it had."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.limits import TOKEN_BATCH_MAX, VERIFY_HERE_MAX
from keyvault.hsm.base import Lane, SignItem, Token, TokenFault
from keyvault.hsm.supervisor import TokenSupervisor, open_token
from tests.hsm.world import HMACS, World, codes, make_key, running

SHORT_MS = 300


def contract(token: TokenSupervisor) -> tuple[Token, Lane]:
    """Hold the types to the engine's contract (checked by mypy)."""
    return token, token.lanes[0]


async def sign_again(token: TokenSupervisor, item: SignItem) -> list[str]:
    """Return what the first lane answers once it is ready again."""
    await token.lanes[0].ready()
    return codes(await token.lanes[0].sign([item]))


async def taken(world: World) -> None:
    """Return when a worker's C_Sign took the trigger."""
    while world.trigger.exists():  # noqa: ASYNC110 - another process's progress is no event of ours
        await asyncio.sleep(0)


def entries(folder: str) -> int:
    """Return how many entries a folder has."""
    return len(list(Path(folder).iterdir()))


def children(kind: str = "worker") -> set[int]:
    """Return the process ids of this process's own workers (or checkers); other tests may keep a server."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    found = {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}
    names = {"worker": (b"keyvault.hsm.worker", b"faulty_worker.py"), "checker": (b"keyvault.hsm.checker",)}[kind]
    return {pid for pid in found if any(name in _command(pid) for name in names)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:  # it ended meanwhile
        return b""


async def test_a_hung_token_costs_one_deadline_and_one_worker(world: World) -> None:
    """C_Sign never returns: the batch is a fault at the deadline, the worker is killed and replaced."""
    async with running(replace(world.faulty("hang"), deadline_ms=SHORT_MS)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        before = children()
        world.trigger.touch()
        begin = time.monotonic()
        assert codes(await token.lanes[0].sign([item, item])) == ["DEADLINE", "DEADLINE"]
        assert SHORT_MS / 1000 <= time.monotonic() - begin < SHORT_MS / 1000 + 1
        assert await sign_again(token, item) == ["signed"]
        assert token.worker_starts == 2
        assert not before & children()


async def test_the_other_worker_signs_while_one_hangs(world: World) -> None:
    """While one worker hangs, the lane of the other one answers as ever."""
    async with running(replace(world.faulty("hang"), workers=2, deadline_ms=1_000)) as token:
        item = await make_key(token, world, KeyAlgorithm.ED25519)
        hung_lane, other_lane = token.lanes
        assert codes(await other_lane.sign([item])) == ["signed"]
        world.trigger.touch()
        hung = asyncio.ensure_future(hung_lane.sign([item]))
        await taken(world)
        for _ in range(20):
            assert codes(await other_lane.sign([item])) == ["signed"]
        assert not hung.done()
        assert codes(await hung) == ["DEADLINE"]
        assert codes(await other_lane.sign([item])) == ["signed"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("die", "WORKER_DIED"),
        ("corrupt", "WRONG_SIGNATURE"),
        ("replay", "WRONG_SIGNATURE"),
        ("short", "WRONG_SIGNATURE"),
        ("babble", "WORKER_DIED"),
    ],
)
@pytest.mark.parametrize("algorithm", [KeyAlgorithm.SECP256K1, KeyAlgorithm.P256, KeyAlgorithm.ED25519])
async def test_a_worker_that_gives_no_right_signature_is_replaced(
    world: World, fault: str, code: str, algorithm: KeyAlgorithm
) -> None:
    """A dead, lying or babbling worker: no signature of it gets out, and its replacement signs."""
    async with running(world.faulty(fault)) as token:
        item = await make_key(token, world, algorithm)
        other = replace(item, input=b"\1" * 32)
        assert codes(await token.lanes[0].sign([other])) == ["signed"]
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item])) == [code]
        assert await sign_again(token, item) == ["signed"]
        assert token.worker_starts == 2


async def test_a_wrong_signature_condemns_only_itself(world: World) -> None:
    """The items beside a wrong signature verify, so they are answered; then the worker goes."""
    async with running(world.faulty("corrupt")) as token:
        item = await make_key(token, world, KeyAlgorithm.SECP256K1)
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item] * 3)) == ["WRONG_SIGNATURE", "signed", "signed"]
        assert await sign_again(token, item) == ["signed"]
        assert token.worker_starts == 2


@pytest.mark.parametrize("algorithm", HMACS)
async def test_a_short_hmac_is_found_by_its_length(world: World, algorithm: KeyAlgorithm) -> None:
    """An HMAC has no public key; one that lacks a byte is refused all the same."""
    async with running(world.faulty("short")) as token:
        item = await make_key(token, world, algorithm)
        world.trigger.touch()
        # The token itself refuses to verify it first: it retires, and nothing gets out.
        assert codes(await token.lanes[0].sign([item])) != ["signed"]
        assert await sign_again(token, item) == ["signed"]


@pytest.mark.parametrize("algorithm", HMACS)
async def test_a_corrupt_hmac_is_refused_by_the_token_itself(world: World, algorithm: KeyAlgorithm) -> None:
    """C_Verify in the token finds a wrong HMAC, and the worker retires."""
    async with running(world.faulty("corrupt-hmac")) as token:
        item = await make_key(token, world, algorithm)
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item])) == ["WRONG_SIGNATURE"]
        assert await sign_again(token, item) == ["signed"]


@pytest.mark.parametrize(
    "ckr",
    [
        pytest.param("ckr-b3", id="SESSION_HANDLE_INVALID"),
        pytest.param("ckr-b0", id="SESSION_CLOSED"),
        pytest.param("ckr-90", id="OPERATION_ACTIVE"),
        pytest.param("ckr-60", id="KEY_HANDLE_INVALID"),
        pytest.param("ckr-6", id="FUNCTION_FAILED"),
        pytest.param("ckr-80000001", id="vendor-defined"),
    ],
)
async def test_a_stale_session_is_replaced_within_the_worker(world: World, ckr: str) -> None:
    """An error of session or handle costs a session: the item is signed in a new one by the same worker."""
    async with running(world.faulty(ckr)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item, item])) == ["signed", "signed"]
        assert not world.trigger.exists()
        assert token.worker_starts == 1


@pytest.mark.parametrize(
    ("ckr", "code"),
    [("ckr-30", "DEVICE_ERROR"), ("ckr-5", "GENERAL_ERROR"), ("ckr-e0", "TOKEN_NOT_PRESENT")],
)
async def test_a_device_in_doubt_costs_the_worker(world: World, ckr: str, code: str) -> None:
    """After a device error the worker retires: this item and those after it are faults, then a new one signs."""
    async with running(world.faulty(ckr)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item, item])) == [code, code]
        assert await sign_again(token, item) == ["signed"]
        assert token.worker_starts == 2


async def test_a_data_error_keeps_worker_and_session(world: World) -> None:
    """CKR_DATA_LEN_RANGE is the request's fault: one fault, no retry, the same worker goes on."""
    async with running(world.faulty("ckr-21")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item, item])) == ["DATA_LEN_RANGE", "signed"]
        assert token.worker_starts == 1


async def test_a_lost_login_is_made_good_by_a_new_worker(world: World) -> None:
    """When the token logs everybody out, the worker retires and its replacement logs in, once."""
    async with running(world.faulty("logout")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item])) == ["USER_NOT_LOGGED_IN"]
        assert await sign_again(token, item) == ["signed"]
        assert world.logins == 2


async def test_an_idle_worker_that_is_killed_is_replaced_unasked(world: World) -> None:
    """SIGKILL from outside while nothing is asked: the replacement is there before the next batch."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        (worker,) = children()
        os.kill(worker, signal.SIGKILL)
        while token.worker_starts < 2:  # noqa: ASYNC110 - another process's death is no event of ours
            await asyncio.sleep(0)
        assert await sign_again(token, item) == ["signed"]


async def test_a_stopped_worker_is_a_hung_worker(world: World) -> None:
    """SIGSTOP during work: the deadline finds it, SIGKILL ends it."""
    async with running(replace(world.config, deadline_ms=SHORT_MS)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        (worker,) = children()
        os.kill(worker, signal.SIGSTOP)
        assert codes(await token.lanes[0].sign([item])) == ["DEADLINE"]
        assert await sign_again(token, item) == ["signed"]


async def test_replacing_workers_leaks_nothing(world: World) -> None:
    """After many replacements there are as many descriptors, threads and children as after the first."""
    async with running(world.faulty("die")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        counts = []
        for _ in range(5):
            assert await sign_again(token, item) == ["signed"]
            counts.append((entries("/proc/self/fd"), entries("/proc/self/task"), len(children())))
            world.trigger.touch()
            assert codes(await token.lanes[0].sign([item])) == ["WORKER_DIED"]
        assert len(set(counts[1:])) == 1


async def test_an_object_that_never_fits_its_public_key_is_given_up(world: World) -> None:
    """A key whose public key in the ledger is another's costs three workers, not one per request for ever."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        other = await make_key(token, world, KeyAlgorithm.P256, b"other")
        wrong = replace(item, public_key=other.public_key)
        for _ in range(3):
            assert await sign_again(token, wrong) == ["WRONG_SIGNATURE"]
        assert await sign_again(token, wrong) == ["OBJECT_STRUCK_OUT"]
        assert await sign_again(token, other) == ["signed"]
        assert token.worker_starts == 4


async def test_closing_does_not_wait_for_a_hung_worker(world: World) -> None:
    """Close ends a hung worker within two seconds, whatever the deadline; its batch becomes a fault."""
    async with running(replace(world.faulty("hang"), deadline_ms=60_000)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        hung = asyncio.ensure_future(token.lanes[0].sign([item]))
        await taken(world)
        begin = time.monotonic()
        await token.close()
        assert time.monotonic() - begin < 2
        assert codes(await hung) == ["WORKER_DIED"]
    assert not children()


async def test_a_wrong_pin_is_tried_once(world: World) -> None:
    """Two workers, a wrong PIN: one attempt in all, a clear error, no worker left."""
    world.created.pin_file.write_text("12345678")
    with pytest.raises(TokenFault, match="refused the PIN") as refusal:
        await open_token(replace(world.faulty("none"), workers=2))
    assert refusal.value.code == "PIN_LATCHED"
    assert world.logins == 1
    assert not children()


async def test_a_pin_that_turns_wrong_latches_the_token(world: World) -> None:
    """A replacement whose PIN is refused is the last: lanes answer PIN_LATCHED and the token is not asked again."""
    async with running(world.faulty("die")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.created.pin_file.write_text("12345678")
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item])) == ["WORKER_DIED"]
        assert await sign_again(token, item) == ["PIN_LATCHED"]
        assert await sign_again(token, item) == ["PIN_LATCHED"]
        assert world.logins == 2
        assert not children()


async def test_a_worker_that_cannot_start_is_tried_again_until_it_can(world: World) -> None:
    """A PIN file that is gone for a while is no latch: after it is back the lane comes back."""
    hidden = world.folder / "hidden.pin"
    async with running(world.faulty("die")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.created.pin_file.rename(hidden)
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item])) == ["WORKER_DIED"]
        assert codes(await token.lanes[0].sign([item])) != ["signed"]
        hidden.rename(world.created.pin_file)
        assert await sign_again(token, item) == ["signed"]


async def test_a_checker_that_dies_releases_nothing_and_is_replaced(world: World) -> None:
    """Without a verdict the batch is a fault and the worker is kept; a new checker takes the dead one's place."""
    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        await token.lanes[0].ready()
        batch = [item] * (VERIFY_HERE_MAX + 1)
        starts = token.worker_starts
        for pid in children("checker"):
            os.kill(pid, signal.SIGKILL)
        # Its end may be noticed before the worker has answered: then a new checker has the batch already.
        assert set(codes(await token.lanes[0].sign(batch))) in ({"NOT_CHECKED"}, {"signed"})
        assert all(isinstance(result, Signature) for result in await token.lanes[0].sign(batch))
        assert token.worker_starts == starts


async def test_a_hung_checker_costs_one_deadline(world: World) -> None:
    """SIGSTOP: no verdict within the deadline, so nothing is released; the checker is replaced."""
    async with running(replace(world.config, deadline_ms=SHORT_MS)) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        batch = [item] * (VERIFY_HERE_MAX + 1)
        for pid in children("checker"):
            os.kill(pid, signal.SIGSTOP)
        assert codes(await token.lanes[0].sign(batch)) == ["NOT_CHECKED"] * len(batch)
        assert all(isinstance(result, Signature) for result in await token.lanes[0].sign(batch))


async def test_a_wrong_signature_in_a_large_batch_is_found(world: World) -> None:
    """The checker's verdict condemns the worker as the server's own would."""
    async with running(world.faulty("corrupt")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.trigger.touch()
        results = await token.lanes[0].sign([item] * TOKEN_BATCH_MAX)
        assert codes(results).count("WRONG_SIGNATURE") >= 1
