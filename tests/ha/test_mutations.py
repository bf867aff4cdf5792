"""Each of three safeguards is taken away, and a law of the history breaks; with it, the same story keeps the law.

A suite that is green against healthy servers proves nothing. These say what fence, notice handler and barrier are for.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyvault.core.errors import OutcomeUnknown
from keyvault.demo.history import HistoryBroken, check_history
from keyvault.demo.postgres import Cluster
from keyvault.store.base import Entry, Head
from keyvault.store.postgres import store as postgres_store
from keyvault.store.postgres.store import PostgresStore
from tests.ha.ledgers import WAITS, Ledger, new_ledger

DATABASE, UNFENCED_DATABASE = "mutations", "unfenced"
CANCEL = f"SELECT pg_cancel_backend(pid) FROM ({WAITS}) AS waiting"  # noqa: S608  our own words
UNFENCED = """
CREATE OR REPLACE FUNCTION keyvault.append(
    p_enclave text, p_epoch bigint, p_size bigint, p_root bytea, p_new_root bytea,
    p_bodies bytea[], p_request_keys bytea[], p_synchronous boolean
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place bigint;
BEGIN
    UPDATE keyvault.head SET size = size + cardinality(p_bodies), root = p_new_root, settled = p_size, beat = beat + 1
        WHERE enclave = p_enclave RETURNING size - cardinality(p_bodies) INTO place;
    INSERT INTO keyvault.entry (enclave, idx, request_key, body)
        SELECT p_enclave, place + each.at - 1, each.request_key, each.body
        FROM unnest(p_bodies, p_request_keys) WITH ORDINALITY AS each (body, request_key, at);
END $$;
"""
"""Appends wherever the ledger ends, for whoever asks."""


@pytest.fixture
async def ledger(spare: Cluster, tmp_path: Path) -> AsyncIterator[Ledger]:
    """Give a ledger; all servers are well again afterwards."""
    made = await new_ledger(spare, tmp_path, DATABASE)
    yield made
    await made.close()
    await asyncio.to_thread(heal, spare)


def heal(servers: Cluster) -> None:
    """Make standbys of the primary of all that are dead."""
    servers.rejoin(*(each for each in servers.servers if not each.running))


# The fence -----------------------------------------------------------------------------------------------------------


async def _two_leaders(ledger: Ledger) -> bool:
    """Let a deposed leader sign, that does not know it yet; return whether it released anything."""
    first = await ledger.lead()
    assert await ledger.sign(first, "before")
    second = await ledger.lead()
    assert await ledger.sign(second, "after")
    return await ledger.sign(first, "late")


async def test_with_the_fence_a_deposed_leader_writes_nothing(ledger: Ledger) -> None:
    """The epoch in the append refuses it, although it believes that it leads."""
    assert not await _two_leaders(ledger)
    check_history(ledger.load, ledger.events())


async def test_without_the_fence_the_history_is_not_one(
    spare: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keyvault.append takes what comes: a deposed leader's signature is released, in its successor's term."""
    ledger = await new_ledger(spare, tmp_path, UNFENCED_DATABASE)
    spare.primary.execute(UNFENCED, database=UNFENCED_DATABASE)
    monkeypatch.setattr(postgres_store, "_check_schema", lambda _connection: None)
    assert await _two_leaders(ledger)
    with pytest.raises(HistoryBroken):
        check_history(ledger.load, ledger.events())
    await ledger.close()


# The notice handler --------------------------------------------------------------------------------------------------


async def _cancelled(ledger: Ledger) -> None:
    """Cancel a commit's wait while no standby lives, and lose the primary."""
    term = await ledger.lead()
    assert await ledger.sign(term, "before")
    primary = ledger.servers.primary
    others = [each for each in ledger.servers.servers if each is not primary]
    for each in others:
        await asyncio.to_thread(each.kill)
    signing = asyncio.create_task(ledger.sign(term, "cancelled"))
    while not signing.done():  # a checkpoint may wait first
        await asyncio.to_thread(primary.execute, CANCEL)
    await ledger.close()
    await asyncio.to_thread(primary.kill)
    for each in others:
        await asyncio.to_thread(each.start)
    await asyncio.to_thread(ledger.servers.fail_over)


async def test_with_the_notice_handler_a_cancelled_wait_releases_nothing(ledger: Ledger) -> None:
    """PostgreSQL says COMMIT and warns: that is no acknowledgement."""
    await _cancelled(ledger)
    assert [each.request_id for each in ledger.load.signings] == ["before"]
    check_history(ledger.load, ledger.events())


async def test_without_the_notice_handler_a_signature_is_lost(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not listen takes a commit on one server for an acknowledged one; with the server it is gone."""
    monkeypatch.setattr(PostgresStore, "_notice", lambda _self, _diagnostic: None)
    await _cancelled(ledger)
    with pytest.raises(HistoryBroken, match="1 acknowledged signatures are not in the ledger"):
        check_history(ledger.load, ledger.events())


# The barrier ---------------------------------------------------------------------------------------------------------


async def _restarted_alone(ledger: Ledger) -> None:
    """Leave an entry on the primary only, as one that was acknowledged to nobody, and let the primary restart."""
    term = await ledger.lead()
    assert await ledger.sign(term, "before")
    primary = ledger.servers.primary
    for each in ledger.servers.servers:
        if each is not primary:
            await asyncio.to_thread(each.kill)
    signing = asyncio.create_task(ledger.sign(term, "waits"))
    await asyncio.to_thread(primary.wait_for, f"SELECT EXISTS ({WAITS})")
    await asyncio.to_thread(primary.kill)
    assert not await signing
    await asyncio.to_thread(primary.start)


async def _lose_the_primary(ledger: Ledger) -> None:
    primary = ledger.servers.primary
    await asyncio.to_thread(primary.kill)
    for each in ledger.servers.servers:
        if each is not primary:
            await asyncio.to_thread(each.start)
    await asyncio.to_thread(ledger.servers.fail_over)


async def test_with_the_barrier_nothing_is_answered_from_one_server(ledger: Ledger) -> None:
    """What a restarted server shows may be on no other: the take-over waits for a standby, and nobody is answered."""
    await _restarted_alone(ledger)
    leading = asyncio.create_task(ledger.lead())
    await asyncio.to_thread(ledger.servers.primary.wait_for, f"SELECT EXISTS ({WAITS})")
    assert not leading.done()
    await _lose_the_primary(ledger)
    with pytest.raises(OutcomeUnknown):
        await leading
    check_history(ledger.load, ledger.events())


async def test_without_the_barrier_a_signature_is_lost(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that does not wait for its first writes answers an old request from a server that then is lost."""
    await _restarted_alone(ledger)
    _remove_the_barrier(monkeypatch)
    term = await ledger.lead()
    assert await ledger.sign(term, "waits")
    await _lose_the_primary(ledger)
    with pytest.raises(HistoryBroken, match="1 acknowledged signatures are not in the ledger"):
        check_history(ledger.load, ledger.events())


def _remove_the_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first two writes of a term, the take-over and TermStarted, return before any standby has them."""
    take, append = PostgresStore._take, PostgresStore.append

    def take_at_once(self: PostgresStore, *arguments: object) -> int:
        self._writer.execute("SET synchronous_commit = local")
        self._synchronous = False
        return take(self, *arguments)  # type: ignore[arg-type]  # handed on as they came

    def append_at_once(self: PostgresStore, *, epoch: int, expected: Head, entries: list[Entry], new: Head) -> None:
        append(self, epoch=epoch, expected=expected, entries=entries, new=new)
        self._writer.execute("SET synchronous_commit = on")
        self._synchronous = True

    monkeypatch.setattr(PostgresStore, "_take", take_at_once)
    monkeypatch.setattr(PostgresStore, "append", append_at_once)
