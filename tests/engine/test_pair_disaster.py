"""Both disks of a pair are gone, and its tokens are left; and that all is well where all is well."""

from pathlib import Path

from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from tests.engine.pair_world import PairWorld, paired, until


async def leave(world: PairWorld, at: str) -> None:
    """Let members give up on this machine what its quarantine says is lost."""
    quarantine = world[at].node.quarantine
    assert quarantine is not None
    lost = quarantine.lost
    said = {
        "incarnation": str(max(world[at].state.incarnation, lost.incarnation) + 1),
        "position": str(quarantine.position),
        "lost_incarnation": str(lost.incarnation),
        "lost_epoch": str(lost.epoch),
        "lost_position": str(lost.size),
        "lost_root": lost.root.hex(),
        "reason": "both disks burnt",
    }
    assert (await world.govern(at, Action.LEAVE_QUARANTINE, said, "0f")).outcome is Outcome.EXECUTED


async def test_a_pair_goes_on_from_an_old_copy_when_members_say_so(tmp_path: Path) -> None:
    """Both tokens remember more than the copy has; after members gave it up both lead and confirm again."""
    async with paired(tmp_path) as world:
        a, b = world["a"], world["b"]
        await a.node.checkpoint()
        await a.stop()
        old = a.file.read_bytes()
        a.start()
        await until(lambda: a.leads)
        await world.name("a", "b", "a")
        await until(lambda: b.leads)
        await world.sign("b", "lost")
        await b.node.checkpoint()
        await b.stop()
        await a.stop()
        for machine in (a, b):
            machine.throw_away()
        a.file.write_bytes(old)
        b.start()
        await world.stand("a")
        await world.name("a", "a")
        await leave(world, "a")
        await until(lambda: a.leads)
        await world.sign("a", "r1")
        await until(lambda: b.replica.head == a.replica.head)
        await world.name("a", "a", "b")
        await world.sign("a", "r2")
        await world.name("a", "b", "a")
        await until(lambda: b.leads)
        await world.sign("b", "r3")
        assert world.signatures("a") == world.signatures("b")


async def test_the_lead_goes_round_and_nobody_is_suspected(tmp_path: Path) -> None:
    """Three machines lead in turn, their tokens remember, all are killed and come back: no quarantine, nothing lost."""
    async with paired(tmp_path, "abc") as world:
        for lead, following in ("ab", "bc", "ca"):
            await world.sign(lead, f"r-{lead}")
            await world[lead].node.checkpoint()
            for machine in world.machines.values():
                machine.terms._ability.memory._told_at -= 3_600
            await world.name(lead, following, "".join(name for name in "abc" if name != following))
            await until(lambda following=following: world[following].leads)  # type: ignore[misc]  # bound at once
            for machine in world.machines.values():
                await machine.crash()
            for machine in world.machines.values():
                machine.start()
            await until(lambda following=following: world[following].leads)  # type: ignore[misc]  # bound at once
        await world.sign("a", "last")
        assert [machine.told.quarantines for machine in world.machines.values()] == [[], [], []]
        await until(lambda: world.signatures("a") == world.signatures("b") == world.signatures("c"))
        assert len(world.signatures("a")) == 4
