"""What a node of a pair makes of what its peers, its token and theirs have seen of the ledger."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.core.decide import refusal
from keyvault.core.errors import Broken, KeyvaultError, Reason, Refused, Unavailable
from keyvault.core.events import Event, SignatureIssued, TermStarted
from keyvault.core.ids import Epoch
from keyvault.core.marks import Mark
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.engine.appender import draft
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.feed import Batch, Look
from keyvault.ledger import codec
from keyvault.store.sqlite import open_store
from tests.engine.pair_world import PairWorld, Wire, lone, node_name, paired, until
from tests.engine.world import SOON
from tests.worlds import digest_request


def is_signature(event: Event) -> bool:
    return isinstance(event, SignatureIssued)


async def test_a_ledger_that_was_put_back_is_quarantined_by_what_its_peer_has_seen(tmp_path: Path) -> None:
    """The leader's disk is an older copy, its token is new: the follower's checkpoint tells."""
    async with lone(tmp_path) as world:
        await world["a"].stop()
        earlier = world["a"].file.read_bytes()
        world["a"].start()
        await until(lambda: world["a"].leads)
        for number in range(3):
            await world.sign("a", f"r{number}")
        await world["a"].node.checkpoint()
        await until(lambda: world["b"].replica.copy.checkpoint() == world["a"].replica.copy.checkpoint())
        await world["a"].crash()
        world["a"].put_back(earlier)
        world["a"].start()
        await until(lambda: world["a"].told.quarantines)
        assert node_name("b") in world["a"].told.quarantines[0]
        with pytest.raises(Refused, match="quarantine"):
            await world.sign("a", "r4")
        assert not [event for event in world["a"].events()[-1:] if not isinstance(event, TermStarted)]


async def test_a_ledger_that_was_put_back_is_quarantined_by_what_its_token_has_seen(tmp_path: Path) -> None:
    """No peer answers: the anchor in the leader's token tells."""
    async with lone(tmp_path) as world:
        a = world["a"]
        await a.stop()
        earlier = a.file.read_bytes()
        a.start()
        await until(lambda: a.leads)
        await world.sign("a", "r1")
        await world["b"].stop()
        await a.stop()
        anchor = a.token.anchor
        a.put_back(earlier)
        a.token.anchor = anchor
        a.start()
        await until(lambda: a.told.quarantines)
        assert "the token" in a.told.quarantines[0]
        with pytest.raises(Refused, match="quarantine"):
            await world.sign("a", "r2")


async def test_a_pair_whose_leader_was_put_back_does_not_sign(tmp_path: Path) -> None:
    """Its follower has more: it is not brought up to date with less, and confirms nothing."""
    async with paired(tmp_path) as world:
        await world["a"].stop()
        earlier = world["a"].file.read_bytes()
        world["a"].start()
        await until(lambda: world["a"].leads)
        await world.sign("a", "r1")
        await world["a"].crash()
        world["a"].put_back(earlier)
        world["a"].start()
        await until(lambda: "has" in world["a"].terms.standing().obstacle)
        assert not world["a"].node.leads
        assert "r1" in world.signatures("b")


# Peers, while it leads ------------------------------------------------------------------------------------------


async def test_two_that_lead_find_each_other_out(tmp_path: Path) -> None:
    """Members named both, each without the other; once they can talk neither signs any more, and says why."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r0")
        world.cut.add(node_name("a"))
        for name in "ab":
            if world[name].up:
                await world[name].stop()
            await world.stand(name)
            await world.name(name, name)
            await world.sign(name, "r1")
            await world[name].node.checkpoint()
        assert world["a"].replica.head != world["b"].replica.head
        world.cut.clear()
        await until(lambda: world["a"].told.quarantines and world["b"].told.quarantines)
        assert "kv-b has seen" in world["a"].told.quarantines[0]
        for name in "ab":
            with pytest.raises(Refused, match="quarantine"):
                await world.sign(name, "r2")


async def test_a_peer_that_comes_back_with_more_is_heard_while_a_node_stands(tmp_path: Path) -> None:
    """Its checkpoint was signed by the log key: members are told before they name anybody."""
    async with paired(tmp_path) as world:
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        for number in range(5):
            await world.sign("b", f"r{number}")
        await world["b"].node.checkpoint()
        await world["b"].stop()
        await world.stand("a")
        assert world["a"].told.quarantines == []
        world["b"].start()
        await until(lambda: world["a"].told.quarantines)
        assert "kv-b has seen" in world["a"].told.quarantines[0]
        await world.name("a", "a")
        with pytest.raises(Refused, match="quarantine"):
            await world.sign("a", "r0")


async def test_what_the_token_of_a_named_peer_remembers_counts(tmp_path: Path) -> None:
    """It led alone, and its disk is gone: whoever goes on from an older copy is in quarantine."""
    async with paired(tmp_path) as world:
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        await world.sign("b", "r1")
        await world["b"].stop()
        remembered = world["b"].token.anchor
        world["b"].throw_away()
        world["b"].start()
        await world.stand("a")
        assert f"the token of {node_name('b')} has seen {remembered}" in world["a"].told.quarantines[0]
        await world.name("a", "a")
        with pytest.raises(Refused, match="quarantine"):
            await world.sign("a", "r1")


async def test_what_the_token_of_a_stranger_remembers_does_not_count(tmp_path: Path) -> None:
    """Nobody signed it, so only those count whom members named: a machine that watches stops nobody."""
    async with paired(tmp_path, "abc") as world:
        await world.name("a", "a", "b")
        told = world["a"].terms._feeds.of(node_name("c")).told
        assert told is not None
        ahead = Mark(incarnation=1, epoch=Epoch(99), size=10_000, root=bytes(32))
        world["a"].terms._feeds.of(node_name("c")).told = replace(told, remembered=ahead)
        await world.sign("a", "before")
        await world["a"].stop()
        world["a"].start()
        await until(lambda: world["a"].leads)
        assert world["a"].told.quarantines == []
        pair = world["a"].state.pair
        assert pair is not None
        assert node_name("c") not in pair.nodes


async def test_the_token_of_a_follower_remembers(tmp_path: Path) -> None:
    """Every checkpoint that it compared, in time: an older copy of its disk is found by its own token."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        size, _ = await world["a"].node.checkpoint()
        b = world["b"]
        await until(lambda: (b.replica.copy.checkpoint() or (0, b""))[0] >= size)
        b.terms._ability.memory._told_at -= 3_600
        await until(lambda: b.token.anchor == b.replica.compared())


# Beginnings -----------------------------------------------------------------------------------------------------


async def test_of_two_machines_with_one_ledger_none_begins(tmp_path: Path) -> None:
    """No node ever led it by name, and a copy looks as the first does: both wait, and say what to do."""
    world = PairWorld(tmp_path, "ab")
    await world.led_before_there_were_pairs()
    world["b"].file.write_bytes(world["a"].file.read_bytes())
    for name in "ab":
        world[name].start()
    try:
        for name in "ab":
            await until(lambda name=name: "has a ledger, too" in world[name].terms.standing().obstacle)  # type: ignore[misc]  # bound at once
            assert not world[name].node.leads
        await world["b"].stop()
        world["b"].throw_away()
        await until(lambda: "does not answer" in world["a"].terms.standing().obstacle)
        assert not world["a"].node.leads
        world["b"].start()
        await until(lambda: world["a"].leads)
    finally:
        await world.close()


async def test_a_machine_that_was_given_entries_begins_nothing(tmp_path: Path) -> None:
    """The ledger was led without a name in between, and the machine that has it cannot be asked."""
    async with lone(tmp_path) as world:
        await until(lambda: world["b"].replica.head == world["a"].replica.head)
        await world["a"].stop()
        store = open_store(world["a"].file, create=False)
        enclave = await Enclave.open(
            store=store, token=world["a"].token, clock=world.clock, identity=Identity(holder="h", software="t")
        )
        await enclave.request(digest_request("alone"), SOON)
        await enclave.close()
        store.close()
        world["a"].start()
        await until(lambda: world["a"].leads and world["b"].replica.head == world["a"].replica.head)
        assert world["b"].terms.intake.was_fed
        for _ in range(2):
            assert not world["b"].node.leads
            await world["b"].stop()
            world["b"].start()
            assert world["b"].terms.intake.was_fed


async def test_a_machine_of_no_pair_goes_on_when_members_gave_up_what_it_lacks(tmp_path: Path) -> None:
    """Members named the leader alone, and it burnt: another has its ledger, stands, is named, and asks them again."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world.name("a", "a")
        await until(lambda: world["b"].replica.head == world["a"].replica.head)
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        for _ in range(2):
            quarantine = world["b"].node.quarantine
            assert quarantine is not None
            assert "nobody waited for it" in quarantine.found
            with pytest.raises(Refused, match="quarantine"):
                await world.sign("b", "r1")
            await world["b"].stop()
            world["b"].start()
            await until(lambda: world["b"].node.leads)
        quarantine = world["b"].node.quarantine
        assert quarantine is not None
        lost = quarantine.lost
        said = {
            "incarnation": "2",
            "position": str(quarantine.position),
            "lost_incarnation": str(lost.incarnation),
            "lost_epoch": str(lost.epoch),
            "lost_position": str(lost.size),
            "lost_root": lost.root.hex(),
            "reason": "its machine burnt",
        }
        assert (await world.govern("b", Action.LEAVE_QUARANTINE, said, "0f")).outcome is Outcome.EXECUTED
        await world.sign("b", "r2")


# Two ledgers ----------------------------------------------------------------------------------------------------


async def test_nobody_is_told_to_throw_the_longer_ledger_away(tmp_path: Path) -> None:
    """The old leader has an entry that nobody confirmed, the new one all that was given out: which one goes is said."""
    async with paired(tmp_path) as world:
        world.loses = is_signature
        with suppress(KeyvaultError):
            await world.sign("a", "lost")
        await world["a"].crash()
        world.loses = None
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        await world.sign("b", "given")
        world["a"].start()
        await until(lambda: "Members named" in world["a"].terms.standing().obstacle)
        said = world["a"].terms.standing().obstacle
        assert f"Members named {node_name('b')} at entry" in said
        assert "move ledger.db* away on this machine, not there" in said
        assert f"start {node_name('b')} without" not in said


# Confirmations --------------------------------------------------------------------------------------------------


async def test_a_head_that_stays_behind_confirms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that answers with what it had before has not got the signature: it is not given out."""
    push = Wire.push

    async def forgets(self: Wire, batch: Batch) -> Look:
        if any(is_signature(codec.decode(each.body)) for each in batch.entries):
            return Look(head=batch.expected, node=self.node)
        return await push(self, batch)

    async with paired(tmp_path) as world:
        monkeypatch.setattr(Wire, "push", forgets)
        with pytest.raises(Unavailable, match="outcome is not known"):
            await world.sign("a", "r1")


async def test_whoever_answers_under_another_name_confirms_nothing(tmp_path: Path) -> None:
    """Two peers have one address, by mistake: the follower is down, and the other one has the entry only."""
    async with paired(tmp_path, "abc") as world:
        await world.name("a", "a", "b")
        await world["b"].stop()
        for wire in world["a"].wires:
            if wire.node == node_name("b"):
                wire.goes_to = "c"
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await until(lambda: "kv-c answers at" in world["a"].terms.standing().obstacle)


async def test_what_is_folded_and_not_stored_ends_the_node(tmp_path: Path) -> None:
    """An entry whose request id stands already: the state would have it and the file not, and it would be confirmed."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r0")
        b = world["b"]
        await until(lambda: b.replica.head == world["a"].replica.head)
        world.cut.add(node_name("b"))
        again = next(each for each in b.store.read_entries(0, 1_000) if is_signature(codec.decode(each.body)))
        head = b.replica.head
        batch = Batch(expected=head, entries=[again], settled=0, whole=head.size + 1)
        with pytest.raises(Broken):
            await b.terms.take(node_name("a"), batch)
        assert b.node.stopped.done()
        with pytest.raises(KeyvaultError):
            await b.terms.take(node_name("a"), Batch(expected=b.replica.head, entries=(), settled=0, whole=0))
        assert b.store.head() == head


async def test_only_whoever_leads_writes_into_a_watchers_copy(tmp_path: Path) -> None:
    """Also before members named anybody, once a node led by name."""
    async with lone(tmp_path, "abc") as world:
        b = world["b"]
        await until(lambda: b.replica.head == world["a"].replica.head)
        no = refusal(b.state, digest_request("zz"), world.clock.now(), Refused(Reason.DENIED_BY_RULE, "x"))
        head = b.replica.head
        with pytest.raises(KeyvaultError, match="follows"):
            await b.terms.take(
                node_name("c"), Batch(expected=head, entries=[draft(no).entry], settled=0, whole=head.size + 1)
            )
        assert b.replica.head == head


async def test_nothing_is_confirmed_before_the_token_was_asked(tmp_path: Path) -> None:
    """What it has seen may be more than whoever sends has: until it says so the node takes nothing."""
    async with lone(tmp_path) as world:
        await world["b"].stop()
        token, asked = world["b"].token, asyncio.Event()
        read = token.read_anchor

        async def late() -> Mark | None:
            await asked.wait()
            return await read()

        token.read_anchor = late  # type: ignore[method-assign]  # a token whose worker is slow
        world["b"].start()
        with pytest.raises(KeyvaultError, match="has not said yet"):
            await world["b"].terms.take(
                node_name("a"), Batch(expected=world["b"].replica.head, entries=(), settled=0, whole=0)
            )
        await until(lambda: "does not say what it has seen" in world["b"].terms.standing().obstacle)
        asked.set()
        await until(lambda: world["b"].replica.head == world["a"].replica.head and world["b"].terms.intake.is_heard)


async def test_whoever_is_to_end_waits_for_no_follower(tmp_path: Path) -> None:
    """A follower that hangs would hold a leader up for ten minutes, and the service manager kills it before."""
    async with paired(tmp_path) as world:
        await world["a"].stop()
        hangs = asyncio.Event()

        async def never(batch: Batch) -> Look:
            del batch
            hangs.set()
            await asyncio.Event().wait()
            raise AssertionError

        world["a"].start()
        world["a"].wires[0].push = never  # type: ignore[method-assign]  # a machine that stands still
        await hangs.wait()
        async with asyncio.timeout(5):
            await world["a"].stop()
