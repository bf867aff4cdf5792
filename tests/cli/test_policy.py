import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_check_lists_every_problem_with_its_place(offline: Run, tmp_path: Path) -> None:
    """All problems of a file come at once as file:line:column, and the exit code is 2."""
    file = tmp_path / "bad.yaml"
    file.write_text("version: 0\nrules:\n  - id: a\n    verdict: maybe\n    colour: red\nlimits: []\n")
    result = offline("policy", "check", file)
    assert result.exit_code == 2
    for place in (f"{file}:1:", f"{file}:4:", f"{file}:5:"):
        assert place in result.stderr


def test_check_says_that_a_file_is_good(offline: Run, policy_file: Path) -> None:
    """A good file gets its size and, with --json, the hash that members will sign."""
    assert "no problems; 3 rules, 1 limit" in offline("policy", "check", policy_file).stdout
    document = json.loads(offline("policy", "check", policy_file, "--json").stdout)
    assert (document["version"], document["rules"], document["limits"]) == (2, 3, 1)
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


def test_apply_publishes_the_next_version(keyvault: Run, policy_file: Path) -> None:
    """The change is shown, signed by the member, and in force afterwards."""
    before = json.loads(keyvault("policy", "show", "--json").stdout)["version"]
    policy_file.write_text(policy_file.read_text().replace("window: 24h", "window: 48h"))
    result = keyvault("policy", "apply", policy_file, "--next-version")
    assert result.exit_code == 0, result.stderr
    assert f"Publishes policy version {before + 1} in enclave hot" in result.stderr
    assert f"Policy version {before + 1} is in force" in result.stdout
    assert json.loads(keyvault("policy", "show", "--json").stdout)["version"] == before + 1


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
