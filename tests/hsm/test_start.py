"""Starting a token: what is wrong is said, with what to do; and where secrets are not."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.base import TokenFault
from keyvault.hsm.config import TokenConfig, find_module, package_root
from keyvault.hsm.supervisor import open_token
from tests.hsm.world import World, make_key, running

SERVER = """
import asyncio, sys
from pathlib import Path
from keyvault.hsm.config import TokenConfig
from keyvault.hsm.supervisor import open_token
from keyvault.hsm.base import SignItem
from keyvault.core.keys import KeyAlgorithm
module, label, pin_file, conf = sys.argv[1:]
async def main():
    config = TokenConfig(module=Path(module), label=label, pin_file=Path(pin_file), softhsm2_conf=Path(conf))
    token = await open_token(config)
    await token.generate(b"k", KeyAlgorithm.P256)
    maps = open("/proc/self/maps").read()
    print("pkcs11" in sys.modules, "softhsm" in maps, "pkcs11" in maps, flush=True)
    await token.close()
asyncio.run(main())
"""


def run_server(world: World, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a small server on this world's token until it ends."""
    created = world.created
    files = (str(created.pin_file), str(created.softhsm2_conf))
    return subprocess.run(
        (sys.executable, "-c", program, str(created.module), created.label, *files),
        env={"PYTHONPATH": package_root()},
        capture_output=True,
        text=True,
        check=False,
    )


def proc(pid: int, name: str) -> bytes:
    """Return a file of /proc, empty where the process is gone or shows nothing: workers are not dumpable."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def workers_of(world: World) -> list[int]:
    """Return the processes that have this world's PIN file among their arguments."""
    mine = str(world.created.pin_file).encode()
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if b"--pin-file" in proc(pid, "cmdline") and mine in proc(pid, "cmdline")]


async def refusal_of(config: TokenConfig) -> TokenFault:
    with pytest.raises(TokenFault) as refusal:
        await open_token(config)
    return refusal.value


async def test_a_missing_module_is_named(world: World, tmp_path: Path) -> None:
    """A module path that does not exist is said, before and by the worker."""
    missing = tmp_path / "libnothing.so"
    with pytest.raises(TokenFault, match=r"libnothing\.so.*install"):
        find_module(missing)
    fault = await refusal_of(replace(world.config, module=missing))
    assert fault.code == "MODULE_UNUSABLE"
    assert "libnothing.so" in str(fault)


async def test_an_unknown_label_is_named(world: World) -> None:
    """A label that no token has is said."""
    fault = await refusal_of(replace(world.config, label="cold"))
    assert fault.code == "TOKEN_NOT_FOUND"
    assert "'cold'" in str(fault)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
async def test_a_pin_file_that_others_can_open_is_refused(world: World, mode: int) -> None:
    """The worker does not use a PIN that is not secret, and says how to make it so."""
    world.created.pin_file.chmod(mode)
    fault = await refusal_of(world.faulty("none"))
    assert fault.code == "PIN_FILE_UNUSABLE"
    assert "chmod 600" in str(fault)
    assert world.logins == 0


async def test_a_pin_file_behind_a_link_is_refused(world: World) -> None:
    """A symbolic link is not followed to the PIN."""
    link = world.folder / "link.pin"
    link.symlink_to(world.created.pin_file)
    assert (await refusal_of(replace(world.config, pin_file=link))).code == "PIN_FILE_UNUSABLE"


@pytest.mark.parametrize("content", [b"", b"x" * 257, b"\xff\xfe"])
async def test_a_pin_file_without_a_pin_is_refused(world: World, content: bytes) -> None:
    """Empty, far too long or binary: no login is tried, and the content is not repeated."""
    world.created.pin_file.write_bytes(content)
    fault = await refusal_of(world.faulty("none"))
    assert fault.code == "PIN_FILE_UNUSABLE"
    assert "xxxx" not in str(fault)
    assert world.logins == 0


async def test_a_worker_that_is_no_worker_is_reported(world: World) -> None:
    """A command that ends at once is reported with its last words."""
    config = replace(world.config, worker_command=(sys.executable, "-c", "raise SystemExit('no such thing')"))
    fault = await refusal_of(config)
    assert fault.code == "WORKER_NOT_STARTED"
    assert "no such thing" in str(fault)


async def test_a_worker_that_never_gets_ready_is_reported(world: World) -> None:
    """A worker that says nothing is killed at the start deadline."""
    command = (sys.executable, "-c", "import signal; signal.pause()")
    fault = await refusal_of(replace(world.config, worker_command=command, start_ms=200))
    assert fault.code == "WORKER_NOT_STARTED"
    assert "in time" in str(fault)


async def test_a_start_that_is_given_up_leaves_nothing(world: World) -> None:
    """Cancelling while workers start ends those that were started."""
    opening = asyncio.ensure_future(open_token(replace(world.config, workers=2)))
    while not workers_of(world):  # noqa: ASYNC110 - another process's progress is no event of ours
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert workers_of(world) == []


async def test_the_pin_is_nowhere_but_in_its_file(world: World) -> None:
    """Neither arguments nor environment of a worker hold the PIN, it cannot dump core; errors do not repeat a PIN."""
    pin = world.created.pin_file.read_bytes()
    async with running(world.config):
        (worker,) = workers_of(world)
        assert pin not in proc(worker, "cmdline") + proc(worker, "environ")
        assert b"Max core file size 0" in b" ".join(proc(worker, "limits").split())
    world.created.pin_file.write_text("wrong-and-secret")
    fault = await refusal_of(world.config)
    assert "wrong-and-secret" not in f"{fault} {fault.__cause__!r} {fault.__context__!r}"


async def test_the_environment_of_a_worker_is_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the server's own environment reaches a worker."""
    monkeypatch.setenv("KEYVAULT_SOMETHING_SECRET", "s3cret")
    assert set(world.config.worker_environment()) == {"PYTHONPATH", "LANG", "SOFTHSM2_CONF"}
    async with running(world.config) as token:
        assert (await make_key(token, world, KeyAlgorithm.P256)).public_key


def test_the_server_never_loads_pkcs11(world: World) -> None:
    """A server process with running workers has neither the Python package nor the module in it."""
    done = run_server(world, SERVER)
    assert done.stdout.split() == ["False", "False", "False"]


def test_workers_end_with_their_server(world: World) -> None:
    """When the server is killed, its workers end by themselves."""
    done = run_server(world, SERVER.replace("await token.close()", "import os; os.kill(os.getpid(), 9)"))
    assert done.returncode == -9
    while workers_of(world):
        pass


@pytest.mark.parametrize("workers", [0, -1, 17])
def test_numbers_out_of_bounds_are_refused(world: World, workers: int) -> None:
    """A configuration has bounds."""
    with pytest.raises(ValueError, match="workers"):
        replace(world.config, workers=workers)
