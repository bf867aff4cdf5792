"""What the documents say is true: commands run, names exist, examples are recomputed."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click import Command, Context, Group
from click.testing import CliRunner

from keyvault import intents
from keyvault.cli.main import cli
from keyvault.core.approvals import Voice, payload_type
from keyvault.core.charter import Duty
from keyvault.core.errors import Reason
from keyvault.core.replay_read import READ_PATTERNS
from keyvault.core.statements import _FORMS, Action
from keyvault.core.token_words import IN_CLEAR
from keyvault.ledger.evidence import check_evidence
from keyvault.ledger.judge import ALGORITHMS
from keyvault.ledger.note import parse_vkey
from keyvault.ledger.proof import verify_proof
from keyvault.ledger.verify import verify
from keyvault.ledger.wire_payload import fill_payload, part_names
from keyvault.rpc.status import _BY_FAMILY, _BY_REASON
from keyvault.telemetry import Metrics
from keyvault.v1 import event_pb2, types_pb2
from tests.client.scripted import Keys
from tests.docs.example import LOG_KEY, example, raw, texts
from tests.every_format import FORMATS, Format

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = ("README.md", "keyvault/README.md", "protos/README.md", "helm/README.md", "CHANGELOG.md")
SESSION_S = 60
HASHED_NAME = re.compile(r"keyvault/(statement|enclave|object|payload|facts|evidence)/v[12]")
"""Looks like a path and is a part of what is hashed."""
TEST_NAME = re.compile(r"`((?:[a-z0-9_]+/)*test_[a-z0-9_]+\.py)::(test_[a-z0-9_]+)`")


def decisions() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "keyvault/decisions").glob("*.md"))


def read(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(name: str, kind: str) -> list[str]:
    """Return the fenced blocks of a kind in a document."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", read(name), re.DOTALL | re.MULTILINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def scratch(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a shell in which `keyvault` is a command."""
    tools = tmp_path / "tools"
    tools.mkdir()
    command = tools / "keyvault"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m keyvault "$@"\n')
    command.chmod(0o755)
    (tmp_path / "here").mkdir()
    return {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"}


def test_the_session_of_the_readme_runs_as_it_stands(tmp_path: Path, scratch: dict[str, str]) -> None:
    """Every command of the first session succeeds, copied as it is but for the port, and gives what it says."""
    script = "set -euo pipefail\n" + "".join(blocks("README.md", "sh")).replace("7443", str(free_port()))
    with subprocess.Popen(
        ("bash", "-c", script),
        cwd=tmp_path / "here",
        env=scratch,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            out, err = shell.communicate(timeout=SESSION_S)
        finally:
            with contextlib.suppress(ProcessLookupError):  # as it should be: the session ended all that it started
                os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, err
    assert "Made a deployment in desk." in out
    assert "raw_transaction   0x02" in out
    assert "nothing is wrong" in out
    log = [json.loads(line) for line in (tmp_path / "here/desk/server.log").read_text().splitlines()]
    events = [line["event"] for line in log]
    assert (events[:2], events[-1]) == (["leading", "serving"], "figures")


def test_the_readme_is_short() -> None:
    """One screen to understand, one to run: less than 200 lines, and a session of at most ten commands."""
    assert len(read("README.md").splitlines()) < 200
    commands = [line for line in blocks("README.md", "sh")[1].splitlines() if not line.startswith(" ")]
    assert len(commands) <= 10


@pytest.mark.parametrize("name", ["README.md", "keyvault/README.md"])
def test_named_tests_exist(name: str) -> None:
    """Each test that a document gives as the holder of a promise is there under that name."""
    named = TEST_NAME.findall(read(name))
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / "tests" / file).is_file()
        or not re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)
    ]
    assert len(named) > 20
    assert missing == []


def test_every_guarantee_names_its_tests() -> None:
    """I1 to I9 stand in the README, each with at least two tests."""
    rows = {row[0]: row[1] for row in re.findall(r"^\| (I[1-9]) \|(.*)$", read("README.md"), re.MULTILINE)}
    assert sorted(rows) == [f"I{number}" for number in range(1, 10)]
    assert [name for name, row in rows.items() if len(TEST_NAME.findall(row)) < 2] == []


def commands(name: str) -> list[list[str]]:
    """Return the words after `keyvault` of every command in a document's code."""
    text = read(name)
    code = re.findall(r"`(keyvault [^`\n]+)`", text)
    for block in (*blocks(name, "sh"), *re.findall(r"(?:^ {4}\S.*\n)+", text, re.MULTILINE)):
        code += re.findall(r"^ *(keyvault .*)$", block.replace("\\\n", " "), re.MULTILINE)
    return [re.split(r"\s(?:2?[|>&#])", each)[0].split()[1:] for each in code]


def problem_of(words: list[str]) -> str | None:
    """Return what the command line's own help does not know of this command."""
    command: Command | None = cli
    path: list[str] = []
    while isinstance(command, Group) and words[len(path) :] and not words[len(path)].startswith("-"):
        path.append(words[len(path)])
        command = command.get_command(Context(command), path[-1])
    if command is None:
        return f"there is no keyvault {' '.join(path)}"
    text = CliRunner().invoke(cli, [*path, "--help"]).output
    unknown = [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", text)]
    return f"keyvault {' '.join(path)} has no {unknown}" if unknown else None


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_and_options_exist(name: str) -> None:
    """Every command, subcommand and option that a document mentions is in the command line's own help."""
    assert [problem for words in commands(name) if (problem := problem_of(words))] == []


def test_commands_are_looked_for_where_they_are() -> None:
    """The check above sees the session, inline code and indented lines, and knows an invention when it meets one."""
    assert len(commands("README.md")) >= 7
    assert ["cert", "issue", "bot/mm-2", "--deployment", "desk"] in commands("helm/README.md")
    assert problem_of(["key", "explode"]) == "there is no keyvault key explode"
    assert problem_of(["serve", "--fast"]) == "keyvault serve has no ['--fast']"


@pytest.mark.parametrize("name", [*DOCUMENTS, *decisions()])
def test_paths_that_are_named_exist(name: str) -> None:
    """Links lead somewhere, and files of the tree that are named in code are there."""
    text = read(name)
    links = [each.split("#")[0] for each in re.findall(r"\]\(([^)]+)\)", text) if not each.startswith("https://")]
    dead = [each for each in links if not ((ROOT / name).parent / each).exists()]
    tree = re.findall(r"`((?:keyvault|protos|softhsm|helm|tests)/[A-Za-z0-9_/.-]+)`", text)
    dead += [each for each in tree if not HASHED_NAME.fullmatch(each) and not (ROOT / each).exists()]
    assert dead == []


def test_the_format_s_example_is_what_the_code_makes() -> None:
    """Every byte of the worked example in protos/README.md is recomputed: entries, hashes, notes, statement, keys."""
    document = read("protos/README.md")
    assert [name for name, text in texts().items() if text not in document] == []


def test_the_format_s_example_is_a_genuine_ledger() -> None:
    """The auditor's verifier finds nothing wrong with the example, its proof proves, and its evidence convinces."""
    made = example()
    report = verify(made.entries, [(len(made.entries), made.note)], expected_vkey=made.key.vkey)
    assert (report.problems, report.entries, report.root) == ((), 5, made.root)
    assert (report.power.proposals, report.power.ballots, report.power.envelopes_verified) == (1, 1, 2)
    assert verify_proof(made.proof, made.entries[4], parse_vkey(made.key.vkey))[0] == 4
    found = check_evidence(made.evidence, parse_vkey(made.key.vkey))
    assert [(each.member, each.voice) for each in found.account.case.said] == [
        ("alice", Voice.REQUEST),
        ("bob", Voice.APPROVE),
    ]
    assert parse_vkey(made.key.vkey).public_key == raw(LOG_KEY)


def test_the_tables_of_actions_voices_and_duties_are_those_of_the_code() -> None:
    """protos/README.md has each action with its parameters, each voice with its payload type, and each duty."""
    document = read("protos/README.md")
    rows = dict(re.findall(r"^\| `([a-z.-]+)` \| ([^|]*) \|", document, re.MULTILINE))
    named = {action: set(re.findall(r"`([a-z0-9_]+)`", rows[action.value])) for action in Action}
    named[Action.KEY_IMPORT] |= named[Action.KEY_CREATE]  # "the same, and"
    forms = {action: set(_FORMS[action]) for action in Action}
    forms[Action.POLICY_PUBLISH] |= READ_PATTERNS.keys()
    forms[Action.KEY_CREATE] |= {IN_CLEAR}
    forms[Action.KEY_IMPORT] |= {IN_CLEAR}  # named only
    assert forms == named
    assert [voice for voice in Voice if f"| `{voice.name}` | `{payload_type(voice)}` |" not in document] == []
    assert [duty for duty in Duty if f"`{duty.name}`" not in document] == []


def test_every_fact_is_in_the_table() -> None:
    """protos/README.md names every fact that an entry can hold."""
    facts = [each.name for each in event_pb2.Event.DESCRIPTOR.oneofs_by_name["fact"].fields]
    assert len(facts) == 21
    assert [fact for fact in facts if f"`{fact}`" not in read("protos/README.md")] == []


def test_the_table_of_statuses_is_that_of_the_code() -> None:
    """protos/README.md has each reason with the status that the server gives it."""
    document = read("protos/README.md")
    pairs = [(reason.value, code.name) for reason, code in _BY_REASON.items()]
    pairs += [(reason, code.name) for _, code, reason in _BY_FAMILY]
    assert set(Reason) == set(_BY_REASON)
    assert [pair for pair in pairs if f"| `{pair[0]}` | `{pair[1]}` |" not in document] == []


def test_metrics_are_named_in_operations() -> None:
    """Every figure that the server counts is explained in helm/README.md."""
    metrics = Metrics()
    metrics.committed(events=1, duration_s=0.1, signatures={}, refusals={})
    metrics.close()
    names = set(re.findall(r'"(keyvault\.[a-z.]+)"', read("keyvault/telemetry.py")))
    assert len(names) == 5
    assert [name for name in names if f"`{name}" not in read("helm/README.md")] == []


def test_log_lines_are_named_in_operations() -> None:
    """Every line that the server writes by itself is explained in helm/README.md."""
    words = re.findall(r'log\.(?:info|warning|error|critical)\(\s*"([a-z ]+)', read("keyvault/app.py"))
    assert len(words) > 4
    assert [word for word in words if f'`"{word}"`' not in read("helm/README.md")] == []


def test_decisions_say_what_they_cost() -> None:
    """Every decision is numbered without gaps and has context, decision and negative consequences."""
    names = decisions()
    assert [Path(name).name[:4] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)]
    parts = ("## Context", "## Decision", "## Negative consequences")
    assert [name for name in names if not all(part in read(name) for part in parts)] == []


def test_the_table_of_formats_is_that_of_the_code() -> None:
    """protos/README.md says of every kind in which field it stands, of what parts, by which keys, and if stamped."""
    table = read("protos/README.md").split("### Formats")[1].split("\n\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    shown = {kind.strip("`"): (field.strip("`"), parts, keys, stamped) for kind, field, parts, keys, stamped in rows}
    assert shown == {each.kind.value: _as_in_the_code(each) for each in FORMATS.values()}


def _as_in_the_code(asked: Format) -> tuple[str, str, str, str]:
    signers = Keys()
    payload = asked.make(signers.public(asked.key))
    message = types_pb2.Payload()
    fill_payload(message, payload)
    names = part_names(asked.kind)
    parts = "the bytes" if names == (asked.kind.value,) else " ".join(f"`{name}`" for name in names)
    keys = " ".join(sorted(f"`{algorithm.value}`" for algorithm in ALGORITHMS[asked.kind]))
    stamped = intents.parse(payload, signers.signer(asked.key)).stamped
    return str(message.WhichOneof("format")), parts, keys, "yes" if stamped else "no"
