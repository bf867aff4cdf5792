"""Pairs: what is confirmed before it is given out, who takes what from whom, and how a dead machine is replaced."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from keyvault.core.errors import KeyvaultError, NotLeader, Refused, Unavailable
from keyvault.core.events import Event, PairSet, SignatureIssued, TermStarted
from keyvault.core.statements import Action
from keyvault.engine.clock import since_boot
from keyvault.engine.feed import Batch
from keyvault.ledger.note import verifier
from tests.engine.pair_world import PairWorld, lone, node_name, paired, until
from tests.worlds import key_parameters


def is_signature(event: Event) -> bool:
    return isinstance(event, SignatureIssued)


async def test_a_peer_that_nobody_named_watches(tmp_path: Path) -> None:
    """It gets everything, holds up nothing, and decides nothing."""
    async with lone(tmp_path) as world:
        await world.sign("a", "r1")
        await until(lambda: world["b"].replica.head == world["a"].replica.head)
        with pytest.raises(NotLeader):
            await world.sign("b", "r2")
        await world["b"].crash()
        await world.sign("a", "r3")


async def test_nothing_is_given_out_before_the_follower_has_it(tmp_path: Path) -> None:
    """A signature that the follower does not confirm stays inside, and is not read from the leader's ledger (I1)."""
    async with paired(tmp_path) as world:
        signed = await world.sign("a", "r1")
        assert world.signatures("b") == {"r1": [signed.value]}
        world.loses = is_signature
        with pytest.raises(Unavailable):
            await world.sign("a", "r2")
        assert list(world.signatures("a")) == ["r1", "r2"]
        assert list(world.signatures("b")) == ["r1"]
        await until(lambda: not world["a"].node.leads)
        with pytest.raises(NotLeader):
            await world.sign("a", "r3")
        shown = world["a"].node.entries(0, 10_000)
        assert len(shown) < world["a"].store.head().size
        assert b"r2" not in b"".join(shown)


async def test_what_was_in_doubt_is_confirmed_before_the_next_term(tmp_path: Path) -> None:
    """The entry that only the leader had goes to the follower first; the request id gets that very signature (I3)."""
    async with paired(tmp_path) as world:
        world.loses = is_signature
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        (kept,) = world.signatures("a")["r1"]
        await until(lambda: not world["a"].node.leads)
        world.loses = None
        await until(lambda: world["a"].leads)
        assert (await world.sign("a", "r1")).value == kept
        assert world.signatures("a") == world.signatures("b") == {"r1": [kept]}


async def test_an_answer_that_is_lost_repeats_nothing(tmp_path: Path) -> None:
    """The follower has it, the leader does not know: the term ends, and the next one finds it confirmed."""
    async with paired(tmp_path) as world:
        a_to_b = (node_name("a"), node_name("b"))
        world.lose_answers.add(a_to_b)
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        world.lose_answers.clear()
        await until(lambda: world["a"].leads)
        signed = await world.sign("a", "r1")
        assert world.signatures("a") == world.signatures("b") == {"r1": [signed.value]}


async def test_every_follower_must_have_it(tmp_path: Path) -> None:
    """With two followers one of them is not enough: either may be the one that goes on."""
    async with paired(tmp_path, "abc") as world:
        await world.sign("a", "r1")
        world.cut.add(node_name("c"))
        with pytest.raises(Unavailable):
            await world.sign("a", "r2")
        await until(lambda: not world["a"].node.leads)
        assert "kv-c does not answer" in world["a"].terms.standing().obstacle or not world["a"].node.leads
        world.cut.clear()
        await until(lambda: world["a"].leads)
        await world.sign("a", "r2")
        await until(lambda: world.signatures("c") == world.signatures("a"))


# Promotion ------------------------------------------------------------------------------------------------------


async def test_a_follower_goes_on_when_members_say_so(tmp_path: Path) -> None:
    """The leader is gone; the follower stands, members name it, and it gives the same answers as the leader gave."""
    async with paired(tmp_path) as world:
        signed = await world.sign("a", "r1")
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        with pytest.raises(Unavailable, match="this node stands"):
            await world.sign("b", "r2")
        with pytest.raises(Refused, match="stands: nothing is decided"):
            await world.govern("b", Action.KEY_CREATE, key_parameters("another"))
        await world.name("b", "b")
        assert (await world.sign("b", "r1")).value == signed.value
        await world.sign("b", "r2")
        size, note = await world["b"].node.checkpoint()
        assert size == world["b"].node.size
        assert note


async def test_no_follower_leads_because_the_leader_is_gone(tmp_path: Path) -> None:
    """Neither silence nor a start makes a leader."""
    async with paired(tmp_path) as world:
        await world["a"].crash()
        await world["b"].stop()
        world["b"].start()
        await until(lambda: not world["b"].terms.intake.is_heard)
        assert not world["b"].node.leads
        with pytest.raises(NotLeader):
            await world.sign("b", "r1")


async def test_a_node_that_stands_stops_the_leader(tmp_path: Path) -> None:
    """It confirms nothing more: whoever is not replaced yet can give nothing out any more."""
    async with paired(tmp_path) as world:
        await world["b"].stop()
        await world.stand("b")
        head = world["b"].replica.head
        with pytest.raises(KeyvaultError, match="stands: it takes nothing"):
            await world["b"].terms.take(node_name("a"), Batch(expected=head, entries=(), settled=0))
        with pytest.raises(KeyvaultError, match="is no peer"):
            world["b"].terms.look(node_name("x"))
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await until(lambda: not world["a"].node.leads)
        assert world.signatures("b") == {}


async def test_the_old_leader_follows_the_new_one(tmp_path: Path) -> None:
    """It comes back, is shown that members named the other, takes what it missed, and confirms again when named."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        await world.sign("b", "r2")
        world["a"].start()
        await until(lambda: world["a"].replica.head == world["b"].replica.head)
        await world.name("b", "b", "a")
        await world.sign("b", "r3")
        assert world.signatures("a") == world.signatures("b")
        assert sorted(world.signatures("a")) == ["r1", "r2", "r3"]


async def test_an_old_leader_with_something_else_is_told_so(tmp_path: Path) -> None:
    """What it had for itself was never given out, and is given up: it takes nothing until its ledger is thrown away."""
    async with paired(tmp_path) as world:
        world.loses = is_signature
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await world["a"].crash()
        world.loses = None
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        await world.sign("b", "r1")
        world["a"].start()
        await until(lambda: any("other entries" in feed.obstacle for feed in world["b"].terms.standing().peers))
        assert not world["a"].node.leads
        await world["a"].stop()
        world["a"].throw_away()
        world["a"].start()
        await until(lambda: world.signatures("a") == world.signatures("b"))
        assert len(world.signatures("a")["r1"]) == 1


async def test_members_move_the_lead_while_all_is_well(tmp_path: Path) -> None:
    """The follower leads, the leader follows, nothing is lost, and requests go on with the same ids."""
    async with paired(tmp_path) as world:
        signed = await world.sign("a", "r1")
        await world.name("a", "b", "a")
        await until(lambda: world["b"].leads)
        assert (await world.sign("b", "r1")).value == signed.value
        await world.sign("b", "r2")
        await until(lambda: world["a"].node.leader == "b.test:7443")
        assert world.signatures("a") == world.signatures("b")


async def test_a_new_leader_gets_the_last_entries_of_the_old_one(tmp_path: Path) -> None:
    """Members named it, and the message that told it was lost: the old leader hands it on, and leads no more."""
    async with paired(tmp_path) as world:
        world.loses = lambda event: isinstance(event, PairSet)
        await world.govern("a", Action.PAIR_SET, world.pair_parameters("a", "b", "a"), "0b")
        await until(lambda: not world["a"].node.leads)
        assert world["b"].state.pair != world["a"].state.pair
        world.loses = None
        await until(lambda: world["b"].leads)
        assert not world["a"].node.leads
        await world.sign("b", "r1")


async def test_a_leader_goes_on_alone_when_members_say_so(tmp_path: Path) -> None:
    """The follower burnt: the leader stands, which needs the same quorum, and the words say that it is alone."""
    async with paired(tmp_path) as world:
        await world["b"].crash()
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await world["a"].stop()
        await world.stand("a")
        await world.name("a", "a")
        await world.sign("a", "r1")
        assert len(world.signatures("a")["r1"]) == 1


# What is refused ------------------------------------------------------------------------------------------------


async def test_a_peer_that_members_did_not_name_is_not_believed(tmp_path: Path) -> None:
    """A node that was taken over stands and pushes what it likes: nothing of it reaches another copy."""
    async with paired(tmp_path, "abc") as world:
        await world.sign("a", "r1")
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        before = world["c"].replica.head
        entries = world["b"].store.read_entries(before.size, 10)
        assert entries
        pushed = Batch(expected=before, entries=entries, settled=before.size)
        with pytest.raises(KeyvaultError, match="members did not name"):
            await world["c"].terms.take(node_name("b"), pushed)
        with pytest.raises(KeyvaultError, match="follows"):
            await world["c"].terms.take(node_name("b"), Batch(expected=before, entries=(), settled=10**6))
        world["c"].terms.intake._foreseen_at = since_boot() + 60  # it was shown something just now
        with pytest.raises(KeyvaultError, match=r"follows .*, not spiffe"):
            await world["c"].terms.take(node_name("b"), pushed)
        world["c"].terms.intake._foreseen_at = 0
        with pytest.raises(KeyvaultError, match="is no peer"):
            await world["c"].terms.take(node_name("x"), pushed)
        assert world["c"].replica.head == before
        assert not world["c"].node.stopped.done()
        with suppress(KeyvaultError):  # c looks at what it is shown once a second
            await world.govern("b", Action.PAIR_SET, world.pair_parameters("b", "b", "c"), "0b")
        await until(lambda: world["b"].leads and world["c"].state.pair == world["b"].state.pair)
        await world.sign("b", "r2")
        assert world.signatures("c") == world.signatures("b")


async def test_a_follower_that_nobody_could_wait_for_is_not_named(tmp_path: Path) -> None:
    """A name that the configuration does not know, or a machine that is away: the leader could give nothing out."""
    async with lone(tmp_path) as world:
        unknown = world.pair_parameters("a", "a", followers="spiffe://test.local/node/kv-x")
        with pytest.raises(Refused, match=r"no \[\[peer\]\]"):
            await world.govern("a", Action.PAIR_SET, unknown)
        await world["b"].crash()
        await until(lambda: "does not answer" in world["a"].terms.standing().peers[0].obstacle)
        with pytest.raises(Refused, match="is not up to date"):
            await world.govern("a", Action.PAIR_SET, world.pair_parameters("a", "a", "b"))
        await world.sign("a", "r1")


async def test_another_ledger_is_not_taken(tmp_path: Path) -> None:
    """A machine without a ledger takes the one that its operator pinned, by the hash of entry 0 and the log key."""
    async with lone(tmp_path) as world:
        await world["b"].stop()
        world["b"].throw_away()
        world["b"].pinned = verifier("keyvault/cold/0123456789abcdef", world.pinned.public_key)
        world["b"].start()
        await until(lambda: "this is another" in world["a"].terms.standing().peers[0].obstacle)
        assert world["b"].replica.head.size == 0


async def test_a_leader_whose_follower_is_away_says_so_before_it_is_asked(tmp_path: Path) -> None:
    """It leads no more at the next sign of life, though nobody asked for a signature, and again when it is back."""
    async with paired(tmp_path) as world:
        world.cut.add(node_name("b"))
        await until(lambda: not world["a"].node.leads)
        assert "does not answer" in world["a"].terms.standing().obstacle
        world.cut.clear()
        await until(lambda: world["a"].leads)
        await world.sign("a", "r1")


# Chance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_each_answer_is_in_the_ledger_once(tmp_path: Path, seed: int) -> None:
    """Cuts, lost answers, crashes and promotions in any order: what was given out stays, and is never given twice."""
    story = _Story(seed)
    async with paired(tmp_path, "abc") as world:
        for number in range(12):
            await story.step(world, number)
        world.cut.clear()
        world.lose_answers.clear()
        leader = await story.leader(world)
        found = world.signatures(leader)
        assert {each: [value] for each, value in story.given.items()}.items() <= found.items()
        assert all(len(values) == 1 for values in found.values())
        epochs = [event.epoch for event in world[leader].events() if isinstance(event, TermStarted)]
        assert epochs == sorted(set(epochs))
        await world.sign(leader, "last")


class _Story:
    """One seed's faults, and what was given out."""

    def __init__(self, seed: int) -> None:
        self.given: dict[str, bytes] = {}
        self._seed = seed
        self._at = "a"

    async def step(self, world: PairWorld, number: int) -> None:
        """Break or mend something, and ask for two signatures meanwhile."""
        asking = asyncio.gather(*(self._ask(world, f"s{number}-{part}") for part in range(2)))
        chance = (self._seed * 7 + number * 5 + number * number * self._seed) % 11
        others = [name for name in world.machines if name != self._at]
        victim = others[chance % len(others)]
        match chance:
            case 0 | 1:
                world.cut.symmetric_difference_update({node_name(victim)})
            case 2 | 3:
                world.lose_answers.symmetric_difference_update({(node_name(self._at), node_name(victim))})
            case 4 | 5:
                await world[self._at].crash()
                world[self._at].start()
            case 6:
                await world[victim].crash()
                world[victim].start()
            case 7 | 8:
                await asking
                await self._promote(world, victim)
            case _:
                world.cut.clear()
                world.lose_answers.clear()
        await asking

    async def leader(self, world: PairWorld) -> str:
        """Return who leads when all is mended."""
        await until(lambda: world[self._at].leads)
        return self._at

    async def _ask(self, world: PairWorld, request_id: str) -> None:
        try:
            signed = await world.sign(self._at, request_id)
        except KeyvaultError:
            return
        assert self.given.setdefault(request_id, signed.value) == signed.value

    async def _promote(self, world: PairWorld, name: str) -> None:
        """Let a follower go on alone, and the others be loaded anew behind it."""
        world.cut.clear()
        world.lose_answers.clear()
        await world[self._at].crash()
        await world[name].stop()
        await world.stand(name)
        await world.name(name, name)
        self._at = name
        others = [machine for machine in world.machines.values() if machine.name != name]
        for machine in others:
            if machine.up:
                await machine.crash()
            machine.throw_away()
            machine.start()
        await until(lambda: all(each.replica.head == world[name].replica.head for each in others))
        await world.name(name, name, "".join(each.name for each in others))
