"""Backups of a pair's ledger: nothing that may vanish is in them."""

from pathlib import Path

import pytest

from keyvault.core.errors import Unavailable
from keyvault.core.events import Event, SignatureIssued
from keyvault.intents import parse
from keyvault.ledger import codec
from keyvault.store.backup import Backed, BackupArchive, write_backup
from tests.engine.pair_world import PairWorld, lone, node_name, paired


def _back_up(world: PairWorld, machine: str) -> Backed:
    return write_backup(world[machine].file, world.folder / "backup", read=parse)


def _backed_up(world: PairWorld) -> list[Event]:
    return [codec.decode(row.body) for row in BackupArchive(world.folder / "backup").rows()]


def _request_ids(events: list[Event]) -> list[str]:
    return [event.request.request_id for event in events if isinstance(event, SignatureIssued)]


async def test_a_backup_of_the_leader_has_nothing_that_was_not_confirmed(tmp_path: Path) -> None:
    """What only the leader has is left out, and said so; later its follower's ledger goes into the same folder."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world["a"].node.checkpoint()
        world.loses = lambda event: isinstance(event, SignatureIssued)
        with pytest.raises(Unavailable):
            await world.sign("a", "r2")
        world.cut.add(node_name("a"))
        done = _back_up(world, "a")
        assert done.left_out == 1
        assert done.report.entries == done.report.covered == done.manifest.size
        assert _request_ids(_backed_up(world)) == ["r1"]
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        await world.sign("b", "r3")
        await world["b"].node.checkpoint()
        assert _back_up(world, "b").left_out == 0
        assert _request_ids(_backed_up(world)) == ["r1", "r3"]


async def test_a_ledger_that_has_no_followers_any_more_is_backed_up_so_too(tmp_path: Path) -> None:
    """Its old entries may be those that a follower of then lacks."""
    async with paired(tmp_path) as world:
        await world["b"].crash()
        await world["a"].stop()
        await world.stand("a")
        await world.name("a", "a")
        await world["a"].node.checkpoint()
        assert _back_up(world, "a").left_out == 0


async def test_a_ledger_that_never_had_a_follower_is_backed_up_whole(tmp_path: Path) -> None:
    """What is durable there was given out."""
    async with lone(tmp_path) as world:
        await world.sign("a", "r1")
        done = _back_up(world, "a")
        assert done.left_out is None
        assert done.manifest.size == world["a"].state.size
        assert _request_ids(_backed_up(world)) == ["r1"]
