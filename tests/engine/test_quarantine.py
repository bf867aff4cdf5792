"""A restored ledger: read and not signed on, until members let it go on."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from keyvault.core.errors import NotFound, Reason, Refused
from keyvault.core.events import IncarnationStarted, SignatureIssued, SignatureRefused, TermStarted
from keyvault.core.ids import Epoch
from keyvault.core.marks import Mark
from keyvault.core.policy import ANY, Limit
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.ledger.verify import verify
from keyvault.store.memory import MemoryMedium
from tests.engine.restoring import HOUR_MS, copy_of, everything, file_only, nothing_else, restored, token_only
from tests.engine.world import World, folded, open_enclave, opened_world, restart
from tests.worlds import digest_request

HOURLY = Limit(id="hourly", keys=ANY, window_ms=HOUR_MS, count_max=100)


async def _refused(world: World, request_id: str) -> Refused:
    with pytest.raises(Refused) as refused:
        await world.sign(request_id)
    return refused.value


@pytest.mark.parametrize("forget", [nothing_else, token_only, file_only])
async def test_a_restored_older_ledger_does_not_sign(forget: Callable[[World, MemoryMedium], None]) -> None:
    """Nor after a restart, or two: the token's anchor alone is enough, and so is the file beside the ledger alone."""
    async with restored(forget=forget) as here:
        for _ in range(3):
            signed = len(here.world.token.signed)
            for request_id in ("new", "lost-0", "kept"):
                refused = await _refused(here.world, request_id)
                assert refused.reason is Reason.QUARANTINED
                assert "an older copy was put back" in refused.explanation or "other entries" in refused.explanation
                assert "keyvault quarantine leave" in refused.explanation
            assert len(here.world.token.signed) == signed
            assert len(here.world.issued()) == 1
            await restart(here.world)


async def test_nothing_is_vouched_for_in_quarantine() -> None:
    """No checkpoint is signed and no anchor written, not at the end either: two checkpoints of one origin agree."""
    async with restored() as here:
        world, checkpoints, anchor = here.world, list(here.world.medium.checkpoints), here.world.token.anchor
        assert await world.enclave.checkpoint() == checkpoints[-1]
        await here.ask_to_leave()
        await restart(world)
        await restart(world)
        assert (world.medium.checkpoints, world.token.anchor) == (checkpoints, anchor)


async def test_what_is_there_can_be_read_and_proven() -> None:
    """Entries, state, and proofs under the newest checkpoint; what no checkpoint covers has no proof."""
    async with restored() as here:
        enclave, (size, note) = here.world.enclave, here.world.medium.checkpoints[-1]
        assert enclave.entries(0, 3) == here.world.medium.bodies[:3]
        assert (await enclave.inclusion_proof(0))[1:] == (here.world.medium.bodies[0], note)  # type: ignore[arg-type]  # an index
        assert (await enclave.consistency_proof(2))[1] == note
        with pytest.raises(NotFound):
            await enclave.inclusion_proof(size)  # type: ignore[arg-type]  # as above
        for call in (
            lambda: enclave.simulate(digest_request("r"), here.world.clock.now()),
            lambda: enclave.quotas("signer", "spiffe://t/bot/b", here.world.clock.now()),  # type: ignore[arg-type]  # names
        ):
            with pytest.raises(Refused) as refused:
                call()
            assert refused.value.reason is Reason.QUARANTINED


async def test_no_other_change_of_power_is_taken() -> None:
    """Not even what one member may do at once; nothing is recorded of it."""
    async with restored() as here:
        world, size = here.world, here.world.medium.head.size
        for action, parameters in (
            (Action.FREEZE, {"scope": "enclave", "name": ""}),
            (Action.KEY_DISABLE, {"key": "signer", "version": "1"}),
        ):
            with pytest.raises(Refused) as refused:
                await world.admin(action, parameters)
            assert refused.value.reason is Reason.QUARANTINED
        assert world.medium.head.size == size


async def test_leaving_is_for_quarantine_only() -> None:
    """An enclave that is well cannot be talked into forgetting anything."""
    async with restored() as here:
        quarantine = here.quarantine
        await here.leave()
        here.world.enclave._quarantine = quarantine  # for the helper; the governor knows better
        with pytest.raises(Refused) as refused:
            await here.ask_to_leave()
        here.world.enclave._quarantine = None
        assert refused.value.reason is Reason.STATE_MISMATCH


@pytest.mark.parametrize(
    "other", [{"lost_position": "999"}, {"lost_root": "00" * 32}, {"lost_epoch": "0"}, {"position": "3"}]
)
async def test_only_what_was_seen_can_be_given_up(other: dict[str, str]) -> None:
    """A statement that names another loss than the server has found is not put to anybody."""
    async with restored() as here:
        with pytest.raises(Refused) as refused:
            await here.ask_to_leave(**other)
        assert refused.value.reason in (Reason.STATEMENT_MISMATCH, Reason.STATE_MISMATCH)


async def test_too_few_approvals_do_nothing() -> None:
    """One yes of two, and a restart: still quarantined, with the proposal open; the second yes then counts."""
    async with restored() as here:
        proposal = await here.ask_to_leave()
        assert (await here.say(proposal, "bob")).outcome is Outcome.OPEN
        await _refused(here.world, "new")
        await restart(here.world)
        await _refused(here.world, "new")
        assert (await here.say(proposal, "carol")).outcome is Outcome.EXECUTED
        assert here.world.enclave.quarantine is None


async def test_after_leaving_it_signs_again() -> None:
    """At once, in the same process, under a new origin and an epoch past the lost one; and so after a restart."""
    async with restored() as here:
        world, lost = here.world, here.quarantine.lost
        first = world.enclave.origin
        await here.leave()
        assert isinstance((await world.sign("again")).event, SignatureIssued)
        assert world.enclave.origin == f"{first}/2"
        assert world.enclave.state.epoch > lost.epoch
        assert world.token.anchor is not None
        assert (world.token.anchor.incarnation, world.token.anchor.epoch) == (2, world.enclave.state.epoch)
        assert folded(world) == world.enclave.state
        await restart(world)
        assert world.enclave.quarantine is None
        assert isinstance((await world.sign("later")).event, SignatureIssued)
        _, note = await world.enclave.checkpoint()
        assert note.decode().startswith(f"{first}/2\n")


async def test_the_audit_verifies_the_whole_and_names_what_is_lost() -> None:
    """Checkpoints before and after, all signatures; whoever kept a checkpoint of the lost period is told why."""
    async with restored() as here:
        world = here.world
        await here.leave()
        await world.sign("again")
        await world.enclave.checkpoint()
        report = verify(world.medium.bodies, world.medium.checkpoints)
        assert report.ok, report.problems
        assert len(report.incarnations) == 1
        kept = verify(world.medium.bodies, world.medium.checkpoints, kept=[here.lost.checkpoints[-1][1]])
        assert ["is not in this history" in each.sentence for each in kept.problems] == [True]
        (begun,) = [each for each in world.decoded() if isinstance(each, IncarnationStarted)]
        assert begun.lost.size == here.lost.head.size


async def test_limits_are_consumed() -> None:
    """What may have been spent in the lost period is not spent again before it has left the window."""
    async with restored((HOURLY,)) as here:
        await here.leave()
        refused = (await here.world.sign("again")).event
        assert isinstance(refused, SignatureRefused)
        assert refused.reason is Reason.LIMIT_EXCEEDED
        here.world.clock.at += HOUR_MS
        assert isinstance((await here.world.sign("later")).event, SignatureIssued)


async def test_a_request_of_the_lost_period_is_new() -> None:
    """Its id is not known: the same request gets another signature, which is what bots must look out for."""
    async with restored() as here:
        await here.leave()
        again = (await here.world.sign("lost-0")).event
        assert isinstance(again, SignatureIssued)
        assert len([each for each in here.world.issued() if each.request.request_id == "lost-0"]) == 1
        kept = await here.world.sign("kept")
        assert kept.event == here.world.issued()[0]


async def test_a_crash_after_leaving_is_not_another_quarantine() -> None:
    """Killed before the token heard of the new incarnation: what it remembers was given up, so the ledger goes on."""
    async with restored() as here:
        world, before = here.world, here.world.token.anchor
        world.token.away = True
        await here.leave()
        assert world.token.anchor == before
        world.medium.anchor = here.lost.anchor
        world.token.away = False
        await restart(world)
        assert world.enclave.quarantine is None
        assert world.token.anchor is not None
        assert world.token.anchor.incarnation == 2


async def test_what_the_token_saw_beyond_it_is_another_quarantine() -> None:
    """Members gave up what the file had seen; a token that comes back with more asks them again."""
    async with restored(forget=file_only) as here:
        world = here.world
        await here.leave()
        seen = Mark(incarnation=1, epoch=Epoch(1), size=here.lost.head.size + 1, root=b"x" * 32)
        await world.enclave.close()
        world.token.anchor = seen
        world.enclave = await open_enclave(world.medium, world.token, world.clock, world.plug)
        assert "members gave up" in here.quarantine.found
        assert here.quarantine.lost == seen


async def test_tokens_that_have_seen_the_same_know_the_same() -> None:
    """A checkpoint does not tell its epoch: another token's anchor of those very entries was given up with it."""
    async with restored(forget=file_only) as here:
        world = here.world
        await here.leave()
        given_up = world.enclave.state.incarnations[-1].lost
        await world.enclave.close()
        world.token.anchor = replace(given_up, epoch=Epoch(given_up.epoch + 3))
        world.enclave = await open_enclave(world.medium, world.token, world.clock, world.plug)
        assert world.enclave.quarantine is None


async def test_a_ledger_from_a_backup_asks_members_whoever_has_seen_it() -> None:
    """No token and no file remembers more: it does not sign all the same, until members said how it goes on."""
    async with restored(forget=everything) as here:
        world = here.world
        assert world.enclave.quarantine is None
        await world.enclave.close()
        head, epoch = world.medium.head, world.enclave.state.epoch
        world.token.anchor = None
        world.medium.restored = Mark(incarnation=1, epoch=epoch, size=head.size, root=head.root)
        for _ in range(2):
            world.enclave = await open_enclave(world.medium, world.token, world.clock, world.plug)
            assert "it was restored from a backup" in here.quarantine.found
            assert here.quarantine.lost == world.medium.restored
            with pytest.raises(Refused, match="quarantine"):
                await world.sign("new")
            await world.enclave.close()
        world.enclave = await open_enclave(world.medium, world.token, world.clock, world.plug)
        await here.leave()
        await world.sign("new")
        await world.enclave.close()
        world.enclave = await open_enclave(world.medium, world.token, world.clock, world.plug)
        assert world.enclave.quarantine is None


async def test_an_older_incarnation_is_quarantined() -> None:
    """The copy from before the new beginning, put back once more, does not go on either; the next number is three."""
    async with restored() as here:
        world = here.world
        older = copy_of(world.medium)
        await here.leave()
        await world.enclave.close()
        world.medium = older
        world.enclave = await open_enclave(older, world.token, world.clock, world.plug)
        assert "it is in incarnation 1" in here.quarantine.found
        await here.leave()
        assert world.enclave.state.incarnation == 3
        assert world.enclave.origin.endswith("/3")


async def test_a_token_that_knows_more_ends_the_term() -> None:
    """Another server with the same token went on: whoever finds that out stops at once."""
    async with opened_world() as world:
        assert world.token.anchor is not None
        world.token.anchor = replace(world.token.anchor, epoch=Epoch(99), size=10_000)
        await world.sign("r")
        await world.enclave.drain()
        assert "older than one that was served with this token" in str(world.enclave.stopped.result())


async def test_a_token_that_cannot_write_costs_nothing() -> None:
    """The anchor is never waited for: signatures go on, and the next term writes it."""
    async with opened_world() as world:
        world.token.away = True
        before = world.token.anchor
        await restart(world)
        assert isinstance((await world.sign("r")).event, SignatureIssued)
        assert world.token.anchor == before
        world.token.away = False
        await restart(world)
        assert world.token.anchor is not None
        assert world.token.anchor.epoch == world.enclave.state.epoch


async def test_a_token_without_a_worker_holds_up_no_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and end of a term wait for the anchor for a moment only, and an answer never does."""
    monkeypatch.setattr("keyvault.core.limits.ANCHOR_WAIT_MS", 10)
    async with opened_world() as world:
        before = world.token.anchor
        world.token.remembers.clear()
        async with asyncio.timeout(10):
            await restart(world)
            assert isinstance((await world.sign("r")).event, SignatureIssued)
            await world.enclave.drain()
        assert world.token.anchor == before


async def test_the_anchor_follows_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each change of epoch, while the ledger grows, and at the end of a term; always of what is durable."""
    monkeypatch.setattr("keyvault.core.limits.ANCHOR_INTERVAL_MS", 10)
    async with opened_world() as world:
        await world.sign("r")
        async with asyncio.timeout(10):
            while world.token.anchor is None or world.token.anchor.size < world.medium.head.size:  # noqa: ASYNC110  a token sets no event
                await asyncio.sleep(0.01)
        assert world.token.anchor.root == world.medium.head.root
        await restart(world)
        assert isinstance(world.decoded()[-1], TermStarted)
        assert world.token.anchor.size == world.medium.head.size
