"""No signature lost, none repeated, whatever dies: ``python -m keyvault.demo.ha`` (``make demo-ha``).

Three PostgreSQL servers, three nodes, one bot under load. The leader is killed, the primary is killed, a leader is
paused; each second is told. At the end the ledger is audited offline, and compared with all that the bot was given.
The exit status is 0 only if everything held. PostgreSQL's programs must be installed; nothing else is touched. Where
Patroni and etcd are installed they promote a standby, with the settings of ``helm/patroni.yaml``; else the demo does.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# gRPC reads this when it is imported; its own lines about a killed server would stand in the middle of the story.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from keyvault.cli.policy_file import parse_policy
from keyvault.core.events import TermStarted
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.proposals import Outcome
from keyvault.demo.bot import signed_more, signing, until
from keyvault.demo.guard import guarded
from keyvault.demo.history import HistoryBroken, Load, check_history, count_lost, count_repeated
from keyvault.demo.hosts import Hosts
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.patroni import replicated
from keyvault.demo.patroni_programs import missing
from keyvault.demo.postgres_programs import programs
from keyvault.demo.record import Record, Silence, Terminal
from keyvault.demo.rulers import member
from keyvault.demo.scratch import ENCLAVE, DemoFailed, Deployment, deployment

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
STORY_S = 300.0
KEY = "signer"
POLICY = """
version: 2
rules:
  - id: digests
    verdict: allow
    keys: [signer]
    principals: ["spiffe://keyvault.local/bot/demo"]
    kinds: [raw-digest]
    operations: [opaque]
"""
ENDED = "the term ended, following"
QUIET_S = 2.0
"""Signing with nothing broken, before and after each fault."""
KILLED_S, PAUSED_S, PRIMARY_S = 1.0, 5.0, 25.0
"""Longest gaps that the project wants to see; the last is Patroni's with `ttl` 20."""
_IN_FLIGHT = 8
_FULL_BAR = 40
_POLL_S = 0.05


class Story:
    """What happens, and what the bot notices of it."""

    def __init__(self, record: Record, nodes: Nodes, postgres: Hosts) -> None:
        self.load = Load()
        self._record = record
        self._nodes = nodes
        self._postgres = postgres
        self._began = time.monotonic()

    async def tell(self) -> None:
        """Sign all the time, and break one thing after the other."""
        self._began = time.monotonic()
        async with self._nodes.client() as client, signing(client, KEY, self.load, "bot", in_flight=_IN_FLIGHT):
            await signed_more(self.load, 1)
            ticking = asyncio.create_task(self._tick())
            try:
                await self._faults()
            finally:
                ticking.cancel()
        seconds = time.monotonic() - self._began
        self._record.figure("signatures", len(self.load.signings))
        self._record.figure("signatures/s, gaps and restarts included", round(len(self.load.signings) / seconds))
        held = not self.load.errors
        self._record.check(f"no call of the bot failed, of {len(self.load.signings)}", held=held)

    async def _faults(self) -> None:
        with self._record.step("Nothing is broken"):
            await self._sign_on()
        with self._record.step("The leader is killed: kill -9"):
            leader = await self._nodes.until_leading()
            moment = self._mark(f"{leader.name} leads and dies")
            await asyncio.to_thread(leader.kill)
            await self._noticed(moment, "leader killed", KILLED_S)
            leader.start()
            await self._sign_on()
        with self._record.step("PostgreSQL's primary is killed: kill -9, a standby is promoted"):
            await self._kill_primary()
        with self._record.step("The leader hangs: SIGSTOP"):
            leader = await self._nodes.until_leading()
            ended = len(leader.said(ENDED))
            moment = self._mark(f"{leader.name} leads and stands still")
            leader.pause()
            await self._noticed(moment, "leader paused", PAUSED_S)
            leader.resume()
            self._mark(f"{leader.name} goes on where it was")
            await until(lambda: len(leader.said(ENDED)) > ended)
            self._record.check("it noticed that its term is over, and follows", held=leader.running)
            await self._sign_on()

    async def _kill_primary(self) -> None:
        dead = self._postgres.primary
        moment = self._mark(f"{dead.name} dies, as its whole host would; {self._postgres.promotion}")
        await asyncio.to_thread(dead.kill)
        chosen = await asyncio.to_thread(self._postgres.fail_over)
        self._mark(f"{chosen.name} is the primary")
        await self._noticed(moment, "primary killed", PRIMARY_S)
        await asyncio.to_thread(self._postgres.rejoin, dead)
        self._mark(f"{dead.name} is back, as a standby")
        await self._sign_on()

    def _mark(self, what: str) -> float:
        """Tell what happens; return when."""
        moment = time.monotonic()
        self._record.say(f"{moment - self._began:6.1f} s", what)
        return moment

    async def _noticed(self, moment: float, name: str, most_s: float) -> None:
        """Wait until signing goes on; say how long it did not, and who leads."""
        await until(lambda: any(each.asked_at > moment for each in self.load.signings[-_IN_FLIGHT:]))
        await signed_more(self.load, _IN_FLIGHT)
        gap_s = self.load.longest_gap_s(moment, time.monotonic())
        leader = await self._nodes.until_leading()
        self._mark(f"{leader.name} leads in epoch {leader.leads_in()}")
        self._record.figure(f"seconds without an answer: {name}", round(gap_s, 2))
        self._record.check(f"{gap_s:.2f} s without an answer, at most {most_s:g} wanted", held=gap_s < most_s)

    async def _sign_on(self) -> None:
        """Sign for a while with all there."""
        until_s = time.monotonic() + QUIET_S
        await until(lambda: time.monotonic() > until_s)

    async def _tick(self) -> None:
        """Tell every second how many signatures it had."""
        second, seen = 0, 0
        while True:
            while time.monotonic() < self._began + second + 1:  # noqa: ASYNC110  a clock has no event
                await asyncio.sleep(_POLL_S)
            second += 1
            count = len(self.load.signings) - seen
            seen += count
            bar = "█" * min(_FULL_BAR, round(count / 25)) or "·"
            self._record.say(f"{second:6.1f} s", f"{bar} {count}")


def audit(record: Record, nodes: Nodes, load: Load, folder: Path) -> None:
    """Compare all that the bot was given with the ledger, which is audited offline."""
    try:
        events = nodes.audited(folder)
        check_history(load, events)
    except HistoryBroken as error:
        record.fail(str(error))
        return
    epochs = [event.epoch for event in events if isinstance(event, TermStarted)]
    record.say("epochs", ", ".join(map(str, epochs)))
    record.figure("entries verified offline", len(events))
    record.check("the offline audit finds nothing wrong with the ledger", held=True)
    lost, repeated = count_lost(load, events), count_repeated(events)
    record.check(f"{lost} of {len(load.signings)} acknowledged signatures are lost", held=lost == 0)
    record.check(f"{repeated} requests were signed twice", held=repeated == 0)
    record.check("epochs only grow, and what came first stands first", held=epochs == sorted(set(epochs)))


async def prepare(made: Deployment, record: Record) -> None:
    """Make the key and the policy, by two members."""
    alice, bob = member(made, "alice"), member(made, "bob")
    await asyncio.to_thread(made.start)
    async with made.client("admin-alice") as admin:
        key = await admin.create_key(KEY, KeyAlgorithm.P256, signer=alice, approvers=[bob])
        proposed = await admin.publish_policy(parse_policy(POLICY, name="policy.yaml"), signer=alice, approvers=[bob])
        settled = await admin.settled(proposed)
    await asyncio.to_thread(made.stop)
    held = key.outcome is settled.outcome is Outcome.EXECUTED
    record.check("a key and a policy that allows the bot's digests, by two members", held=held)


async def told(folder: Path, record: Record, *, without_patroni: str) -> None:
    """Tell the whole story in this folder; ``without_patroni`` says why, if so. Raises what ends it early."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(STORY_S):
        with record.step("A deployment: token, certificates, genesis"), deployment(folder / "desk") as made:
            await prepare(made, record)
        with record.step("Three PostgreSQL servers and three nodes"), contextlib.ExitStack() as opened:
            record.say("programs", str(programs()))
            if without_patroni:
                record.say("no Patroni", without_patroni)
            servers = replicated(by_patroni=not without_patroni)
            postgres = await asyncio.to_thread(opened.enter_context, servers)
            record.say("who promotes", postgres.promotion)
            primary = await asyncio.to_thread(lambda: postgres.primary)
            names = primary.execute("SELECT current_setting('synchronous_standby_names')")[0][0]
            record.say("primary", f"{primary.name}; synchronous standbys: {names}")
            nodes = await asyncio.to_thread(lambda: Nodes(folder, made.folder, postgres, enclave=ENCLAVE))
            opened.callback(nodes.close)
            nodes.start()
            leader = await _all_there(nodes)
            record.check(f"three nodes serve, {leader.name} leads", held=all(node.running for node in nodes.nodes))
            story = Story(record, nodes, postgres)
            await story.tell()
            with record.step("An auditor, offline"):
                await asyncio.to_thread(audit, record, nodes, story.load, folder)


async def _all_there(nodes: Nodes) -> Node:
    await nodes.until_all_can_lead()
    return await nodes.until_leading()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m keyvault.demo.ha", description="Failover, on real servers.")
    parser.add_argument("--json", action="store_true", help="print checks and figures as one JSON object, nothing else")
    parser.add_argument("--without-patroni", action="store_true", help="promote a standby here, at once")
    options = parser.parse_args(arguments)
    without_patroni = "asked to" if options.without_patroni else missing()
    terminal = None if options.json else Terminal()
    record = Record(terminal or Silence())
    began = time.monotonic()
    with _folder() as folder:
        if terminal is not None:
            terminal.open(str(folder))
        status = _run(folder, record, without_patroni)
    seconds = time.monotonic() - began
    record.figure("seconds for everything", round(seconds, 1))
    if terminal is None:
        sys.stdout.write(record.as_json() + "\n")
    else:
        terminal.close(record, seconds)
    return status


def _run(folder: Path, record: Record, without_patroni: str) -> int:
    try:
        programs()  # says what to install, before anything is made
        asyncio.run(told(folder, record, without_patroni=without_patroni))
    except (KeyboardInterrupt, asyncio.CancelledError):
        record.fail("interrupted")
        return EXIT_INTERRUPTED
    except DemoFailed as error:
        record.fail(str(error))
    except Exception as error:  # noqa: BLE001  whatever ends the story is a failed check, with its reason
        record.fail(f"the story ended early: {type(error).__name__}: {error}")
    return EXIT_OK if record.ok else EXIT_FAILED


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="keyvault-ha-"))
    with guarded(folder):
        yield folder


if __name__ == "__main__":
    sys.exit(main())
