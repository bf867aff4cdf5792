"""PostgreSQL breaks under load: its servers, what they are told to wait for, and the way to them."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from keyvault.client import AsyncClient
from keyvault.core.ids import EnclaveName
from keyvault.demo.bot import until
from keyvault.demo.hosts import AUDITOR_ROLE, SERVER_ROLE
from keyvault.demo.postgres import Server
from keyvault.store.postgres.logins import admit, dismiss
from tests.ha.proxy import Proxy
from tests.ha.world import ENDED, Shared, is_refused, standbys

NAMES = "SELECT current_setting('synchronous_standby_names')"
WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'keyvault_hot'"


async def test_the_primary_dies_and_a_standby_is_promoted(shared: Shared) -> None:
    """SIGKILL: the nodes find the new primary by themselves, and nothing that was acknowledged is lost."""
    async with shared.trial() as trial:
        dead = trial.postgres.primary
        await asyncio.to_thread(dead.kill)
        await asyncio.to_thread(trial.postgres.fail_over)
        await trial.signed_more()
        await asyncio.to_thread(trial.postgres.rejoin, dead)


async def test_the_primary_hangs_and_comes_back(shared: Shared) -> None:
    """SIGSTOP of the primary: the term ends, nothing is acknowledged meanwhile; SIGCONT: signing goes on."""
    async with shared.trial() as trial:
        before = len(trial.leader.said(ENDED))
        trial.postgres.primary.pause()
        await trial.until_term_ended(before)
        stopped_at = len(trial.load.signings)
        assert await is_refused(trial.here)
        assert len(trial.load.signings) == stopped_at
        trial.postgres.primary.resume()
        await trial.signed_more()


async def test_the_primary_hangs_and_wakes_beside_another(shared: Shared) -> None:
    """SIGSTOP of the primary while a standby is promoted, then SIGCONT: two servers think that they are the primary.

    Signing goes on with the new one, also when its leader dies. The old one, to which nodes can connect again, takes no
    term and no entry more.
    """
    async with shared.trial() as trial:
        old = trial.postgres.primary
        before = len(trial.leader.said(ENDED))
        await asyncio.to_thread(old.pause)
        await trial.until_term_ended(before)
        new = await asyncio.to_thread(trial.postgres.fail_over)
        await trial.signed_more()
        promoted = trial.here.head()
        await asyncio.to_thread(old.resume)
        await until(old.takes_writes)
        left = await asyncio.to_thread(trial.here.head, old)
        await trial.signed_more(200)
        assert await asyncio.to_thread(trial.here.head, old) == left
        assert int(str(left["epoch"])) < int(str(promoted["epoch"]))
        assert int(str(left["size"])) < int(str(promoted["size"]))
        assert trial.postgres.primary is new
        leader = await trial.here.until_leading()
        await asyncio.to_thread(leader.kill)
        await trial.signed_more()
        leader.start()
        await asyncio.to_thread(trial.postgres.rejoin, old)
        await trial.signed_more()


async def test_without_a_standby_nothing_is_signed(shared: Shared) -> None:
    """All synchronous standbys die: UNAVAILABLE and nothing released until one is back."""
    async with shared.trial() as trial:
        before = len(trial.leader.said(ENDED))
        for each in standbys(trial.postgres):
            await asyncio.to_thread(each.kill)
        await trial.until_term_ended(before)
        stopped_at = len(trial.load.signings)
        assert await is_refused(trial.here)
        assert len(trial.load.signings) == stopped_at
        for each in standbys(trial.postgres):
            await asyncio.to_thread(each.start)
        await trial.signed_more()


async def test_one_of_two_standbys_is_enough(shared: Shared) -> None:
    """A standby dies and comes back: ANY 1 of two holds, the term goes on, no epoch is spent."""
    async with shared.trial() as trial:
        epoch = trial.here.head()["epoch"]
        one = standbys(trial.postgres)[0]
        await asyncio.to_thread(one.kill)
        await trial.signed_more()
        await asyncio.to_thread(one.start)
        await trial.signed_more()
        assert trial.here.head()["epoch"] == epoch


async def test_a_database_that_says_nothing_does_not_hold_a_node(shared: Shared) -> None:
    """Its connections stay open and nothing comes: the node gives the look up, says so, and is back when it answers."""
    async with shared.trial() as trial:
        follower = next(node for node in trial.here.nodes if node is not trial.leader)
        async with trial.here.client("admin-alice", follower) as admin:
            await _until_obstacle(admin, "")
            trial.world.proxies[follower.name].swallow()
            await _until_obstacle(admin, "the database does not answer")
            trial.world.proxies[follower.name].heal()
            await _until_obstacle(admin, "")


async def _until_obstacle(admin: AsyncClient, begins: str) -> None:
    """Return when what the node lacks begins so; if empty, when it lacks nothing."""

    async def says() -> bool:
        found = (await admin.get_node()).obstacle
        return found.startswith(begins) if begins else not found

    async with asyncio.timeout(60):
        while not await says():  # noqa: ASYNC110  it is another process that says so
            await asyncio.sleep(0.05)


async def test_an_auditor_holds_no_take_over_up(shared: Shared) -> None:
    """With every lock that it can take in the hands of an auditor, the lead is handed over and signing goes on."""
    async with shared.trial() as trial:
        epoch = int(str(trial.here.head()["epoch"]))
        with psycopg.connect(trial.postgres.conninfo(AUDITOR_ROLE), autocommit=True) as auditor:
            auditor.execute(f"SELECT pg_try_advisory_lock(1, generate_series({epoch}, {epoch + 60}))".encode())
            async with trial.here.client("admin-alice", trial.leader) as admin:
                await admin.step_down()
            await trial.other_leads()
            await trial.signed_more()


async def test_a_take_over_that_does_not_end_is_told(shared: Shared) -> None:
    """Somebody holds the row of the head: nobody can lead, each node says so, and leads again when the row is free."""
    async with shared.trial() as trial:
        with trial.postgres.primary.connect() as admin:
            with admin.transaction():
                await asyncio.to_thread(admin.execute, "SELECT FROM keyvault.head FOR UPDATE")
                for node in trial.here.nodes:
                    async with trial.here.client("admin-alice", node) as asking:
                        await _until_obstacle(asking, "the database did not acknowledge its take-over within 2000 ms")
            for node in trial.here.nodes:
                async with trial.here.client("admin-alice", node) as asking:
                    await _until_obstacle(asking, "")
            await trial.signed_more()


async def test_nodes_whose_login_is_taken_away_say_so(shared: Shared) -> None:
    """While their login is not admitted no node leads or follows, and each says what to run; then signing goes on."""
    async with shared.trial() as trial:
        admin, hot = trial.postgres.admin_conninfo(), EnclaveName("hot")
        await asyncio.to_thread(dismiss, admin, SERVER_ROLE, hot)
        for node in trial.here.nodes:
            async with trial.here.client("admin-alice", node) as asking:
                await _until_obstacle(asking, "the ledger cannot be read: the login keyvault_hot is not admitted to")
        await asyncio.to_thread(admit, admin, SERVER_ROLE, hot)
        await trial.signed_more()


async def test_standbys_are_taken_out_of_the_settings(shared: Shared) -> None:
    """An operator empties synchronous_standby_names: the leader refuses to sign until it is set again."""
    async with shared.trial() as trial:
        before = len(trial.leader.said(ENDED))
        names = str(trial.postgres.primary.execute(NAMES)[0][0])
        await asyncio.to_thread(lambda: trial.postgres.primary.configure(synchronous_standby_names=""))
        await trial.until_term_ended(before)
        stopped_at = len(trial.load.signings)
        assert await is_refused(trial.here)
        assert len(trial.load.signings) == stopped_at
        await asyncio.to_thread(lambda: trial.postgres.primary.configure(synchronous_standby_names=names))
        await trial.signed_more()


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_the_wait_for_standbys_is_ended(shared: Shared, end: str) -> None:
    """Somebody cancels or ends the writing session while its commit waits: that term releases nothing more."""
    async with shared.trial() as trial:
        before = len(trial.leader.said(ENDED))
        await asyncio.to_thread(_end_the_wait, trial.postgres.primary, end)
        await trial.until_term_ended(before)
        await trial.signed_more()


def _end_the_wait(primary: Server, end: str) -> None:
    names = str(primary.execute(NAMES)[0][0])
    primary.configure(synchronous_standby_names="nobody")
    try:
        primary.wait_for(f"SELECT EXISTS ({WAITS})")
        primary.execute(f"SELECT {end}(pid) FROM ({WAITS}) AS waiting")  # noqa: S608  our own words
    finally:
        primary.configure(synchronous_standby_names=names)


@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.swallow])
async def test_the_leader_loses_its_way_to_the_database(shared: Shared, fault: Callable[[Proxy], None]) -> None:
    """The leader's connections are reset, or swallow everything: another leads, and the first follows again later."""
    async with shared.trial() as trial:
        before = len(trial.leader.said(ENDED))
        fault(trial.proxy)
        await trial.other_leads()
        await trial.until_term_ended(before)
        await trial.signed_more()
        trial.proxy.heal()
        await trial.signed_more()
