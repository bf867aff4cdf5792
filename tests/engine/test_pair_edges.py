"""Pairs where somebody looks closely: what is not whole, not confirmed, not meant, or meant badly."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.core.errors import Conflict, KeyvaultError, NotLeader, Refused, Unavailable
from keyvault.core.events import Event, PairSet, SignatureIssued, TermStarted
from keyvault.core.ids import NOBODY, Epoch
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.marks import Mark
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.engine.appender import draft
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.feed import Batch
from keyvault.engine.replica import Replica
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, SignItem
from keyvault.ledger import checkpoint
from keyvault.ledger.note import verifier
from keyvault.store.base import EMPTY_HEAD
from keyvault.store.flag import Flag
from keyvault.store.sqlite import open_store
from tests.engine.pair_world import PairWorld, lone, node_name, paired, until
from tests.software_token import SoftwareToken


def is_signature(event: Event) -> bool:
    return isinstance(event, SignatureIssued)


async def test_a_ledger_that_is_not_whole_yet_leads_nothing(tmp_path: Path) -> None:
    """The beginning of a ledger that no pair led looks like a server of its own: not where it began empty."""
    world = PairWorld(tmp_path, "ab")
    await world.led_before_there_were_pairs()
    b = world["b"]
    b.start()
    store = open_store(world["a"].file, create=False)
    part = store.read_entries(0, 6)
    await b.terms.take(node_name("a"), Batch(expected=EMPTY_HEAD, entries=part, settled=6, whole=9))
    for _ in range(2):  # also after a start
        await until(lambda: b.terms.standing().obstacle == "its ledger is not whole yet")
        assert not b.node.leads
        await b.stop()
        b.start()
    rest = store.read_entries(6, 100)
    store.close()
    world["a"].start()
    await until(lambda: world["a"].leads and not b.terms.intake.is_copying)
    assert len(rest) >= 2
    assert not b.node.leads
    await world.sign("a", "r1")
    await world.close()


@pytest.mark.parametrize("ahead", [0, 1, 2])
async def test_an_epoch_that_comes_by_itself_lets_no_leader_stand(tmp_path: Path, ahead: int) -> None:
    """The flag counts for what the ledger was when the process began: afterwards it confirms as always."""
    async with paired(tmp_path) as world:
        await world["a"].stop()
        world["a"].start()
        epoch = world["a"].state.epoch
        await world["a"].stop()
        world["a"].start(stands_after=epoch + 1 + ahead)
        await until(lambda: world["a"].node.leads)
        if world["a"].state.stands:
            return
        world.loses = is_signature
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        assert world.signatures("b") == {}
        assert b"r1" not in b"".join(world["a"].node.entries(0, 10_000))


async def test_a_node_that_stands_shows_nothing_that_was_not_confirmed(tmp_path: Path) -> None:
    """What only it has may be given up: members name it or another."""
    async with paired(tmp_path) as world:
        world.loses = is_signature
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await world["a"].crash()
        world.loses = None
        world.cut.add(node_name("b"))
        await world.stand("a")
        assert list(world.signatures("a")) == ["r1"]
        assert b"r1" not in b"".join(world["a"].node.entries(0, 10_000))
        size, _ = await world["a"].node.checkpoint()
        assert size <= world["b"].replica.head.size
        await world.name("a", "a")
        assert b"r1" in b"".join(world["a"].node.entries(0, 10_000))


async def test_a_word_that_the_follower_does_not_have_changes_nothing(tmp_path: Path) -> None:
    """Members let the leader go on alone, and the message is lost: it waits for the follower, which may stand."""
    async with paired(tmp_path) as world:
        world.loses = lambda event: isinstance(event, PairSet)
        with suppress(KeyvaultError):
            await world.govern("a", Action.PAIR_SET, world.pair_parameters("a", "a"), "0a")
        await until(lambda: not world["a"].node.leads)
        assert world["a"].state.pair != world["b"].state.pair
        await world["a"].stop()
        world["a"].start()
        await until(lambda: "the message is lost" in world["a"].terms.standing().obstacle)
        assert not world["a"].node.leads
        world.loses = None
        await until(lambda: world["a"].leads)
        assert world["a"].state.pair == world["b"].state.pair
        await world.sign("a", "r1")


async def test_the_last_entry_that_one_follower_has_reaches_the_other(tmp_path: Path) -> None:
    """It was given to nobody and stands before the members' word: whoever lacks it takes both."""
    async with paired(tmp_path, "abc") as world:
        world.loses = is_signature
        world.spares.add(node_name("b"))
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await world["a"].crash()
        world.loses = None
        assert (list(world.signatures("b")), list(world.signatures("c"))) == (["r1"], [])
        await world["b"].stop()
        await world.stand("b")
        with suppress(KeyvaultError):
            await world.govern("b", Action.PAIR_SET, world.pair_parameters("b", "b", "c"), "0b")
        await until(lambda: world["b"].leads)
        await world.sign("b", "r2")
        assert world.signatures("c") == world.signatures("b")


async def test_a_machine_whose_token_lacks_a_key_is_not_named(tmp_path: Path) -> None:
    """It could not go on: neither as leader nor as the one that is there if the leader burns."""
    async with lone(tmp_path) as world:
        await world["b"].stop()
        world["b"].token = SoftwareToken()
        world["b"].start()
        await until(lambda: "does not sign" in world["a"].terms._feeds.all[0].lacks)
        with pytest.raises(Refused, match="could never lead: the token does not sign"):
            await world.govern("a", Action.PAIR_SET, world.pair_parameters("a", "a", "b"))


async def test_who_is_named_has_the_word_before_it_counts(tmp_path: Path) -> None:
    """From follower b to follower c: one of them always knows that it may stand."""
    async with paired(tmp_path, "abc") as world:
        await world.name("a", "a", "b")
        await until(lambda: world["c"].state.pair == world["a"].state.pair)
        world.loses = lambda event: isinstance(event, PairSet)
        world.spares.add(node_name("b"))
        with suppress(KeyvaultError):
            await world.govern("a", Action.PAIR_SET, world.pair_parameters("a", "a", "c"), "0c")
        await until(lambda: not world["a"].node.leads)
        with pytest.raises(NotLeader):
            await world.sign("a", "r1")
        world.loses = None
        await until(lambda: world["a"].leads)
        assert world["c"].state.pair == world["a"].state.pair


async def test_a_peer_that_only_stands_does_not_spoil_a_watchers_ledger(tmp_path: Path) -> None:
    """Whoever watches takes entries from the leader that members named, as followers do."""
    async with paired(tmp_path, "abc") as world:
        await world.name("a", "a", "b")
        await until(lambda: world["c"].state.pair == world["a"].state.pair)
        await world["a"].crash()
        await world["b"].stop()
        await until(lambda: world["c"].replica.head == Replica(open_store(world["b"].file, create=False), "x").head)
        before = world["c"].replica.head
        fact = TermStarted(
            at=world.clock.now(),
            epoch=Epoch(world["c"].state.epoch + 1),
            holder="h",
            software="s",
            node=node_name("b"),
            stands=True,
        )
        with pytest.raises(KeyvaultError, match="did not name"):
            await world["c"].terms.take(
                node_name("b"), Batch(expected=before, entries=[draft(fact).entry], settled=0, whole=before.size + 1)
            )
        assert world["c"].replica.head == before


async def test_a_fork_that_was_shown_is_remembered(tmp_path: Path) -> None:
    """A node that was given a checkpoint over other entries stays out, also when it is started again."""
    async with paired(tmp_path) as world:
        b = world["b"]
        origin, size = world["a"].node.origin, b.replica.head.size
        text = checkpoint.signing_text(origin, size, bytes(32))
        item = SignItem(
            object_id=LOG_KEY_OBJECT_ID, algorithm=KeyAlgorithm.ED25519, public_key=world.pinned.public_key, input=text
        )
        (signed,) = await b.token.lanes[0].sign([item])
        assert isinstance(signed, Signature)
        note = checkpoint.assemble(text, verifier(origin, world.pinned.public_key), signed.value)
        await world["a"].crash()
        forged = Batch(expected=b.replica.head, entries=(), settled=size, signed=(size, note), whole=size)
        with pytest.raises(KeyvaultError):
            await b.terms.take(node_name("a"), forged)
        with pytest.raises(KeyvaultError, match="is in quarantine"):
            await b.terms.take(node_name("a"), Batch(expected=b.replica.head, entries=(), settled=size, whole=size))
        for _ in range(2):
            assert b.node.quarantine is not None
            epoch = b.state.epoch
            await b.stop()
            b.start(stands_after=epoch)
        await until(lambda: b.terms.standing().quarantined)
        assert not b.node.leads


async def test_a_follower_that_lost_its_ledger_confirms_nothing_to_an_old_leader(tmp_path: Path) -> None:
    """It was named elsewhere meanwhile, and its disk died: the old leader would be confirmed by one that forgot."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world["a"].node.checkpoint()
        await world["a"].stop()
        await world["b"].stop()
        world["b"].throw_away()
        world["b"].start()
        world["a"].start()
        await until(lambda: "lost what it had confirmed" in world["a"].terms.standing().obstacle)
        assert not world["a"].node.leads
        assert world["b"].replica.head.size == 0


async def test_a_token_that_has_seen_more_confirms_no_older_ledger(tmp_path: Path) -> None:
    """Whoever sends it everything that it has, has not what this machine once vouched for."""
    async with lone(tmp_path) as world:
        await world["b"].stop()
        world["b"].throw_away()
        head = world["a"].replica.head
        world["b"].token.anchor = Mark(incarnation=1, epoch=Epoch(9), size=head.size + 50, root=bytes(32))
        world["b"].start()
        await until(lambda: "older ledger" in world["a"].terms.standing().peers[0].obstacle)
        assert world["b"].terms.intake.is_copying
        with pytest.raises(Refused, match="is not up to date"):
            await world.govern("a", Action.PAIR_SET, world.pair_parameters("a", "a", "b"))


async def test_a_survivor_whose_token_lacks_a_key_can_be_named(tmp_path: Path) -> None:
    """Everything else is there, and only whoever leads can have the key disabled."""
    async with paired(tmp_path) as world:
        await world.sign("a", "r1")
        await world["a"].crash()
        await world["b"].stop()
        world["b"].token._keys = {}
        await world.stand("b")
        await world.name("b", "b")
        disabled = await world.govern("b", Action.KEY_DISABLE, {"key": "signer", "version": "1"}, "0d")
        assert disabled.outcome is Outcome.EXECUTED


async def test_a_copy_that_is_not_whole_does_not_stand_later(tmp_path: Path) -> None:
    """The flag was for an epoch that only the beginning of the ledger was in."""
    async with paired(tmp_path) as world:
        epoch = world["b"].state.epoch
        await world["b"].stop()
        Flag(world["b"].file, "copying").raise_("a test")
        world["b"].start(stands_after=epoch)
        await until(lambda: not world["b"].terms.intake.is_copying)
        await until(lambda: world["a"].leads)
        assert not world["b"].state.stands
        await world.sign("a", "r1")


async def test_a_server_without_a_name_writes_nothing_into_a_pairs_ledger(tmp_path: Path) -> None:
    """Somebody serves it without [pair], or for a database: it is refused before the term stands there for ever."""
    async with paired(tmp_path) as world:
        await world["a"].stop()
        store = open_store(world["a"].file, create=False)
        head = store.head()
        identity = Identity(holder="h", software="test")
        for node in (NOBODY, node_name("b")):
            with pytest.raises(Conflict, match=r"members named .*kv-a; a ledger whose members named a pair"):
                await Enclave.open(
                    store=store, token=world["a"].token, clock=world.clock, identity=replace(identity, node=node)
                )
        assert store.head() == head
        store.close()
        world["a"].start()
        await until(lambda: world["a"].leads)
        await world.sign("a", "r1")
