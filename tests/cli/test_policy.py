import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.cli.conftest import carried_out, document_of

Run = Callable[..., Result]


def test_check_lists_every_problem_with_its_place(offline: Run, tmp_path: Path) -> None:
    """All problems of a file come at once as file:line:column, and the exit code is 2."""
    file = tmp_path / "bad.yaml"
    file.write_text("version: 0\nrules:\n  - id: a\n    verdict: maybe\n    colour: red\nlimits: []\n")
    result = offline("policy", "check", file)
    assert result.exit_code == 2
    for place in (f"{file}:1:", f"{file}:4:", f"{file}:5:"):
        assert place in result.stderr


def test_check_names_its_findings(offline: Run, tmp_path: Path) -> None:
    """Behind the sentence in brackets for people, by its parts as JSON; what is no finding has no name."""
    file = tmp_path / "open.yaml"
    file.write_text(
        "version: 1\nrules:\n  - id: a\n    verdict: deny\n    colour: red\n"
        "  - {id: b, verdict: deny, hours: ['mon 00:00-01:00']}\nlists:\n  treasury: [bc1qhome]\n"
    )
    restricts = "hours: a rule that restricts only at times restricts nothing at others: put hours into allow rules"
    unused = "lists.treasury: no rule and no limit names treasury: leave it out, or use it"
    shown = offline("policy", "check", file)
    assert f"{file}:6:35: {restricts} [L7-restriction-by-time]\n{file}:8:3: {unused} [unused]" in shown.stderr
    document = json.loads(offline("policy", "check", file, "--json").stderr)["error"]
    assert (document["exit_code"], document["kind"]) == (2, "USAGE")
    assert document["problems"][1:] == [
        {"line": 6, "column": 35, "sentence": restricts, "lint": "L7-restriction-by-time"},
        {"line": 8, "column": 3, "sentence": unused, "lint": "unused"},
    ]
    assert document["problems"][0]["lint"] == ""


def test_check_says_that_a_file_is_good(offline: Run, policy_file: Path) -> None:
    """A good file gets its size and, with --json, the hash that members will sign."""
    assert "no problems; 17 rules, 1 limit" in offline("policy", "check", policy_file).stdout
    document = json.loads(offline("policy", "check", policy_file, "--json").stdout)
    assert (document["version"], document["rules"], document["limits"]) == (2, 17, 1)
    first = document["cautions"][0]
    assert f"caution: rule {first['rule']}: {first['problem']}" in offline("policy", "check", policy_file).stdout
    assert len(document["sha256"]) == 66


def test_check_of_a_missing_file_ends_with_3(offline: Run, tmp_path: Path) -> None:
    """A file that is not there is named."""
    result = offline("policy", "check", tmp_path / "none.yaml")
    assert result.exit_code == 3
    assert result.stderr == f"Error: {tmp_path / 'none.yaml'}: No such file or directory\n"


def test_show_prints_what_check_accepts(keyvault: Run, offline: Run, tmp_path: Path) -> None:
    """The policy in force comes back as a file with the same hash."""
    shown = keyvault("policy", "show", "--as", "auditor/demo")
    assert shown.exit_code == 0
    file = tmp_path / "shown.yaml"
    file.write_text(shown.stdout)
    in_force = json.loads(keyvault("policy", "show", "--json").stdout)
    assert json.loads(offline("policy", "check", file, "--json").stdout)["sha256"] == in_force["sha256"]
    assert in_force["yaml"] == shown.stdout


def test_apply_of_what_loosens_waits_for_members_and_for_its_delay(keyvault: Run, policy_file: Path) -> None:
    """What gives more is proposed: it says so, says what it needs, and is in force once approved and waited for."""
    before = document_of(keyvault("policy", "show", "--json"))["version"]
    policy_file.write_text(policy_file.read_text().replace("window: 24h", "window: 48h"))
    asked = keyvault("policy", "apply", policy_file, "--next-version", "--without-replay")
    assert asked.exit_code == 0, asked.stderr
    assert f"Policy version {before + 1} of enclave hot" in asked.stderr
    assert "~ slow" in asked.stderr
    assert "It LOOSENS the policy: needs 1 of everybody, then waits 1s." in asked.stderr
    name = asked.stdout.split()[-1]
    assert document_of(keyvault("policy", "show", "--json"))["version"] == before
    approved = keyvault("approve", name, "--member", "carol", "--yes")
    assert "It LOOSENS compared with the policy (that the server says is in force" in approved.stderr
    assert "approved, not carried out yet" in approved.stdout
    carried_out(keyvault("proposals", "watch", name, "--json"))
    assert document_of(keyvault("policy", "show", "--json"))["version"] == before + 1


def test_apply_of_what_only_takes_away_is_at_once(keyvault: Run, tmp_path: Path) -> None:
    """A policy that permits less needs nobody else and is in force when the command ends."""
    before = document_of(keyvault("policy", "show", "--json"))["version"]
    file = tmp_path / "tighter.yaml"
    file.write_text(keyvault("policy", "show").stdout + "  - {id: nothing, keys: [nobody], window: 24h, count: 0}\n")
    result = keyvault("policy", "apply", file, "--next-version", "--json")
    assert carried_out(result)["version"] == before + 1
    assert document_of(keyvault("policy", "show", "--json"))["version"] == before + 1


def test_apply_refuses_a_version_that_does_not_follow(keyvault: Run, policy_file: Path) -> None:
    """A file made for another version is refused with the version that would be right; nothing changes."""
    before = keyvault("policy", "show", "--json").stdout
    policy_file.write_text(policy_file.read_text().replace("version: 2", "version: 1000"))
    result = keyvault("policy", "apply", policy_file)
    assert result.exit_code == 2
    assert "version 1000 does not follow version" in result.stderr
    assert keyvault("policy", "show", "--json").stdout == before


def test_apply_of_a_bad_file_sends_nothing(keyvault: Run, tmp_path: Path) -> None:
    """A file with problems is refused before anybody is asked."""
    file = tmp_path / "bad.yaml"
    file.write_text("version: nine\n")
    result = keyvault("policy", "apply", file, "--target", "127.0.0.1:1")
    assert result.exit_code == 2
    assert f"{file}:1:" in result.stderr
