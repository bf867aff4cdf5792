"""``python -m keyvault.demo``: exit status 0 only if everything that the demo claims was true, 130 after Ctrl-C."""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# gRPC reads this when it is imported; its own lines about a killed server would stand in the middle of the story.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from keyvault.demo import audit, desk, inputs, rulers
from keyvault.demo.burst import burst
from keyvault.demo.record import Record, Silence, Terminal
from keyvault.demo.scratch import Deployment, deployment

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
STORY_S = 120.0
"""The whole story; some ten seconds on two cores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = _parser().parse_args(arguments)
    terminal = None if options.json else Terminal()
    record = Record(terminal or Silence())
    began = time.monotonic()
    with _folder(options.keep) as folder:
        if terminal is not None:
            terminal.open(str(folder))
        status = _run(folder, record, terminal)
    seconds = time.monotonic() - began
    record.figure("seconds for everything", round(seconds, 1))
    if terminal is None:
        sys.stdout.write(record.as_json() + "\n")
    else:
        terminal.close(record, seconds)
    return status


def _run(folder: Path, record: Record, terminal: Terminal | None) -> int:
    try:
        asyncio.run(_told(folder, record, terminal))
    except (KeyboardInterrupt, asyncio.CancelledError):
        record.fail("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  whatever ends the story is a failed check, with its reason
        record.fail(f"the story ended early: {type(error).__name__}: {error}")
    return EXIT_OK if record.ok else EXIT_FAILED


async def _told(folder: Path, record: Record, terminal: Terminal | None) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(STORY_S):
        with record.step("A deployment: token, certificates, configuration, genesis"), deployment(folder) as made:
            await _story(made, record, terminal)


async def _story(made: Deployment, record: Record, terminal: Terminal | None) -> None:
    record.say("log key", made.log_vkey)
    seconds = await asyncio.to_thread(made.start)
    record.check(f"the server accepts calls after {seconds:.1f} s", held=made.port > 0)
    with record.step("Two members make keys"):
        keys = await desk.make_keys(made, record)
    with record.step("Two members publish the policy"):
        if terminal is not None:
            terminal.block(inputs.POLICY)
        await desk.publish_policy(made, record)
    async with made.client("bot-demo") as bot:
        with record.step("A bot signs"):
            transfer = await desk.sign(bot, keys, record)
        with record.step("Policy says no"):
            await desk.refuse(bot, record)
        with record.step("The network lost the answer: ask again"):
            await desk.retry(bot, transfer, record)
        with record.step("A large transfer waits for a person"):
            large = await rulers.large_transfer(made, bot, record)
            await rulers.veto(made, bot, record)
        with record.step("One member stops everything"):
            await rulers.freeze(made, bot, record)
    with record.step("A burst, and the server is killed in the middle"):
        await burst(made, keys, record)
    with record.step("An auditor, offline"):
        await audit.prove(made, transfer, record)
        status = await asyncio.to_thread(made.stop)
        record.check("SIGTERM: the server drains and ends with 0", held=status == 0)
        await asyncio.to_thread(audit.verify, made, record)
        await asyncio.to_thread(rulers.prove_approval, made, large, record)
    with record.step("Somebody changes one bit"):
        await asyncio.to_thread(audit.flip_a_bit, made, transfer, record)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give the path of a folder that does not exist yet; remove it at the end unless it was named."""
    if keep is not None:
        yield keep.absolute()
        return
    parent = Path(tempfile.mkdtemp(prefix="keyvault-demo-"))
    try:
        yield parent / "desk"
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keyvault.demo", description="The main job, on real input.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="new folder for the deployment, which then stays")
    parser.add_argument("--json", action="store_true", help="print checks and figures as one JSON object, nothing else")
    return parser


if __name__ == "__main__":
    sys.exit(main())
