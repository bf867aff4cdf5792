import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyvault.demo import inputs, outside
from keyvault.demo.__main__ import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from keyvault.demo.record import Record, Silence, Terminal

ROOT = Path(__file__).resolve().parent.parent
DEMO = (sys.executable, "-m", "keyvault.demo")
LONGEST_S = 60
"""What `make demo` promises, after installation."""
CHECKS = 32


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "COLUMNS": "80"}


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of all processes that name the folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_everything_that_the_demo_claims_is_true(tmp_path: Path) -> None:
    """`python -m keyvault.demo` ends with 0 within a minute, fits 80 columns without a terminal, leaves nothing."""
    done = subprocess.run(
        DEMO, env=environment(tmp_path), capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    assert (done.returncode, done.stderr) == (EXIT_OK, ""), done.stdout
    assert f"all {CHECKS} checks held" in done.stdout
    assert "NO_RULE_ALLOWS" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_figures_come_as_json_and_the_folder_stays_on_request(tmp_path: Path) -> None:
    """--json prints one object and nothing else; --keep leaves a deployment whose ledger verifies again."""
    folder = tmp_path / "kept"
    done = subprocess.run(
        (*DEMO, "--json", "--keep", str(folder)),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["ok"]) == (EXIT_OK, "", True)
    assert [each for each in told["checks"] if not each["held"]] == []
    assert told["figures"]["entries verified offline"] > 1_000
    verify = (
        sys.executable,
        "-m",
        "keyvault.ledger",
        "verify",
        "ledger.db",
        "--log-vkey",
        (folder / "log.vkey").read_text().strip(),
    )
    again = subprocess.run(verify, cwd=folder, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "nothing is wrong")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM while the server runs: exit status 130, no process and no file is left."""
    with subprocess.Popen(
        DEMO, env=environment(tmp_path) | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "Two members make keys" in line:
                demo.send_signal(number)
                break
        demo.communicate(timeout=LONGEST_S)
    assert demo.returncode == EXIT_INTERRUPTED
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_stops_the_story_is_said(tmp_path: Path) -> None:
    """A folder that is not empty stops the demo with exit status 1 and the reason, and stays as it is."""
    (tmp_path / "mine").touch()
    done = subprocess.run(
        (*DEMO, "--keep", str(tmp_path)),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == EXIT_FAILED
    assert "FAILED" in done.stdout
    assert "is not an empty folder" in " ".join(done.stdout.split())
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


def test_one_failed_check_fails_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """A record with one false claim among true ones is not ok, and the claim is printed as failed."""
    terminal = Terminal()
    record = Record(terminal)
    with record.step("arithmetic"):
        record.check("two and two are four", held=True)
        record.check("two and two are five", held=False)
    terminal.close(record, 1.0)
    assert not record.ok
    assert "FAILED  arithmetic: two and two are five" in capsys.readouterr().out


def test_a_record_without_checks_is_not_ok() -> None:
    """Nothing checked is nothing shown."""
    assert not Record(Silence()).ok


def test_constants_of_the_settlement_contract_are_those_of_its_definition() -> None:
    """Domain separator and type hash, written down from the contract, follow from names, version, chain and address."""
    order = "Order(" + ",".join(f"{kind} {name}" for name, kind in inputs.ORDER_FIELDS) + ")"
    domain = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    words = [outside.keccak256(each) for each in (domain, b"Gnosis Protocol", b"v2")]
    words += [(1).to_bytes(32, "big"), int(inputs.SETTLEMENT, 16).to_bytes(32, "big")]
    assert outside.keccak256(order.encode()) == outside.COW_ORDER_TYPE
    assert outside.keccak256(b"".join(words)) == outside.COW_DOMAIN


def test_the_outside_is_not_easily_pleased() -> None:
    """A transaction over other fields, or with a byte changed, has no sender or another one."""
    transfer = inputs.FIRST
    raw = b"\x02" + outside.rlp((*transfer.fields, 1, 1 << 255, 7))
    assert outside.sender(raw, inputs.OTHER.fields) is None
    assert outside.sender(raw + b"\0", transfer.fields) is None
    assert not outside.hmac_accepts(b"secret", "a=1&signature=00")
    assert not outside.ed25519_accepts(bytes(32), "a=1&signature=AAAA")
