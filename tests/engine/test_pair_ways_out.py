"""What helm/README.md tells an operator to do when something went wrong with a pair: each way out is tried here."""

from pathlib import Path

import pytest

from keyvault.core.errors import Unavailable
from keyvault.core.events import SignatureIssued
from keyvault.core.statements import Action
from keyvault.store.flag import Flag
from tests.engine.pair_world import Machine, node_name, paired, until


def _copy(machine: Machine) -> dict[str, bytes]:
    """Return the files of a machine that is stopped."""
    return {path.name: path.read_bytes() for path in machine.file.parent.glob(f"{machine.file.name}*")}


async def test_a_stand_by_mistake_is_taken_back_by_the_copy_from_before(tmp_path: Path) -> None:
    """A start without the flag still stands: it is in its ledger. With the files from before the pair goes on."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world["b"].stop()
        before = _copy(world["b"])
        await world.stand("b")
        await world["b"].stop()
        world["b"].start()
        await until(lambda: world["b"].node.leads and world["b"].state.stands)
        await until(lambda: not world["a"].node.leads)
        with pytest.raises(Unavailable):
            await world.sign("a", "r2")
        await world["b"].stop()
        world["b"].throw_away()
        for name, data in before.items():
            (tmp_path / name).write_bytes(data)
        world["b"].start()
        await until(lambda: world["a"].leads)
        await world.sign("a", "r2")
        assert world.signatures("a") == world.signatures("b")
        assert sorted(world.signatures("b")) == ["r1", "r2"]


async def test_a_stand_by_mistake_can_be_gone_on_with(tmp_path: Path) -> None:
    """Without a copy: members name the machine that stands, with the other as its follower; nothing is lost."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world["b"].stop()
        await world.stand("b")
        await until(lambda: not world["a"].node.leads)
        await world.name("b", "b", "a")
        await until(lambda: world["b"].leads)
        await world.sign("b", "r2")
        assert world.signatures("a") == world.signatures("b")


async def test_of_two_followers_the_one_with_more_stands(tmp_path: Path) -> None:
    """One word of the members is enough then: the other is brought up to it."""
    async with paired(tmp_path, "abc") as world:
        world.loses, world.spares = (lambda event: isinstance(event, SignatureIssued)), {node_name("c")}
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await until(lambda: "r1" in world.signatures("c"))
        await world["a"].crash()
        world.loses = None
        assert world["c"].state.size > world["b"].state.size
        await world["c"].stop()
        await world.stand("c")
        await world.name("c", "c", "b")
        await until(lambda: world["c"].leads)
        await world.sign("c", "r2")
        assert world.signatures("b") == world.signatures("c")


@pytest.mark.parametrize("named_before", [False, True])
async def test_of_two_followers_the_one_with_less_is_named_alone(tmp_path: Path, named_before: bool) -> None:  # noqa: FBT001  a parameter of the test
    """Once it stands; named with the other it cannot begin, and has to stand again."""
    async with paired(tmp_path, "abc") as world:
        world.loses, world.spares = (lambda event: isinstance(event, SignatureIssued)), {node_name("c")}
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await until(lambda: "r1" in world.signatures("c"))
        await world["a"].crash()
        world.loses = None
        await world["b"].stop()
        await world.stand("b")
        if named_before:
            await world.govern("b", Action.PAIR_SET, world.pair_parameters("b", "b", "c"))
            await until(lambda: "has other entries" in world["b"].terms.standing().obstacle)
            await world["b"].stop()
            await world.stand("b")
        await world.name("b", "b")
        await until(lambda: world["b"].leads)
        await world["c"].stop()
        world["c"].throw_away()
        world["c"].start()
        await until(lambda: world["c"].replica.head == world["b"].replica.head)
        await until(lambda: not world["c"].terms.intake.is_copying)
        await world.name("b", "b", "c")
        await world.sign("b", "r2")
        assert world.signatures("b") == world.signatures("c")


async def test_the_only_survivor_leads_again_when_the_word_about_a_fork_is_taken_away(tmp_path: Path) -> None:
    """Nothing but that file: its ledger is the last copy."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world["a"].crash()
        await world["b"].stop()
        Flag(world["b"].file, "forked").raise_("it was shown another history")
        world["b"].start()
        epoch = world["b"].state.epoch
        await world["b"].stop()
        world["b"].start(stands_after=epoch)
        assert "another history" in str(world["b"].node.quarantine)
        assert not world["b"].node.leads
        await world["b"].stop()
        (tmp_path / "b.db.forked").unlink()
        await world.stand("b")
        await world.name("b", "b")
        await world.sign("b", "r2")
        assert sorted(world.signatures("b")) == ["r1", "r2"]
