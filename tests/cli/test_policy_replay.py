"""`keyvault policy replay`, `shadow`, `diff`, and a proposal that carries the replay's hash."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.conftest import document_of
from tests.cli.test_policy_explain import BAD, GOOD, transfer
from tests.deployment import Deployment

Run = Callable[..., Result]


def draft_of(keyvault: Run, path: Path, *changes: tuple[str, str], window: str = "") -> Path:
    """Write the policy in force, changed, as a file; ``window``: that of its limits, whatever it is now."""
    text = keyvault("policy", "show").stdout
    if window:
        text, found = re.subn(r"window: \w+", f"window: {window}", text)
        assert found, text
    for old, new in changes:
        assert old in text, text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def changed(document: dict[str, Any], change: str) -> int:
    """Return how many decisions changed so."""
    return int(document["changes"].get(change, {"count": 0})["count"])


def test_a_replay_says_what_a_draft_changes(keyvault: Run, offline: Run, desk: Deployment, tmp_path: Path) -> None:
    """Signed requests that the draft refuses, and refusals that it allows, are counted by key and rule and told."""
    assert keyvault("sign", *transfer(nonce=31)).exit_code == 0
    assert keyvault("sign", *transfer(nonce=32, to=BAD)).exit_code == 1
    draft = draft_of(keyvault, tmp_path / "draft.yaml", (GOOD.lower(), BAD))
    replay = ("policy", "replay", draft, "--ledger", desk.dir / "ledger.db", "--json")
    document = document_of(offline(*replay))
    assert changed(document, "newly-refused") >= 1
    assert changed(document, "newly-allowed") >= 1
    assert document["decisions"] == sum(each["count"] for each in document["changes"].values())
    assert set(document["keys"]["desk"]) >= {"newly-refused", "newly-allowed"}
    assert "transfers" in document["rules"]
    assert {each["change"] for each in document["changed"]} >= {"newly-refused", "newly-allowed"}
    again = document_of(offline(*replay, "--entries", document["entries"]))
    assert again == document
    text = offline(*replay[:-1]).stdout
    assert "newly allowed" in text
    assert f"report {document['sha256']}" in text


def test_the_report_is_what_was_hashed(keyvault: Run, offline: Run, desk: Deployment, tmp_path: Path) -> None:
    """--out writes exactly the bytes whose SHA-256 is printed, once; the version of the draft does not matter."""
    draft, out = draft_of(keyvault, tmp_path / "draft.yaml"), tmp_path / "draft.replay"
    replay = ("policy", "replay", draft, "--ledger", desk.dir / "ledger.db", "--json")
    document = document_of(offline(*replay, "--out", out))
    assert hashlib.sha256(out.read_bytes()).hexdigest() == document["sha256"]
    assert json.loads(out.read_text())["root"] == document["root"]
    assert offline(*replay, "--out", out).exit_code == 2
    entries = ("--entries", document["entries"])
    draft.write_text(draft.read_text().replace("version: ", "version: 9"))
    assert document_of(offline(*replay, *entries))["sha256"] == document["sha256"]


def test_a_proposal_carries_the_hash_of_its_replay(
    keyvault: Run, offline: Run, desk: Deployment, tmp_path: Path
) -> None:
    """`apply --replay` puts the hash into the statement; members are told; a report of another policy is refused."""
    draft = draft_of(keyvault, tmp_path / "draft.yaml", window="36h")
    out = tmp_path / "draft.replay"
    replay = ("policy", "replay", draft, "--ledger", desk.dir / "ledger.db", "--out", out, "--json")
    sha256 = document_of(offline(*replay))["sha256"]
    proposed = document_of(keyvault("policy", "apply", draft, "--next-version", "--replay", out, "--json"))["proposal"]
    assert proposed["parameters"]["replay_sha256"] == sha256
    name = proposed["short"]
    assert f"replay report {sha256}" in keyvault("proposals", "show", name).stdout
    vetoed = keyvault("approve", name, "--member", "carol", "--veto", "--yes")
    assert f"replay report {sha256} says of " in vetoed.stderr + vetoed.stdout

    told = keyvault("policy", "apply", draft, "--next-version", "--replay", out)
    assert re.search(r"Its replay decided \d+ requests from .*, in the first \d+ entries, again\.", told.output)

    other = draft_of(keyvault, tmp_path / "other.yaml", window="35h")
    refused = keyvault("policy", "apply", other, "--next-version", "--replay", out)
    assert refused.exit_code == 2
    assert "is about another policy" in refused.stderr
    out.write_bytes(out.read_bytes() + b" ")
    refused = keyvault("policy", "apply", draft, "--next-version", "--replay", out)
    assert refused.exit_code == 2
    assert "byte for byte" in refused.stderr


def test_a_report_that_says_nothing_is_not_shown_to_members(
    keyvault: Run, offline: Run, desk: Deployment, tmp_path: Path
) -> None:
    """An empty one, and one that ends early, are refused, unless that is said; then members read how much it says."""
    assert keyvault("sign", *transfer(nonce=35)).exit_code == 0
    draft, out = draft_of(keyvault, tmp_path / "draft.yaml", window="38h"), tmp_path / "tiny.replay"
    tiny = ("policy", "replay", draft, "--ledger", desk.dir / "ledger.db", "--since", "1s", "--entries", 1)
    assert "It says NOTHING of the draft" in offline(*tiny, "--out", out).stdout
    apply = ("policy", "apply", draft, "--next-version", "--replay", out)
    refused = keyvault(*apply)
    assert refused.exit_code == 2
    early, empty = r"ends early: it read 1 entries, and the ledger has \d+", r"is empty \(0 requests from"
    assert re.search(f"{early}|{empty}", refused.stderr)
    assert "or say --short-replay: members read how much it is about" in refused.stderr
    short = keyvault(*apply, "--short-replay", "--json")
    proposed = document_of(short)["proposal"]
    assert proposed["parameters"]["replay_requests"] == "0"
    assert re.search(r"says of 0 requests from \S+Z to \S+Z, in the first 1 entries", proposed["summary"])
    keyvault("approve", proposed["short"], "--member", "carol", "--veto", "--yes")


def test_an_empty_report_up_to_the_end_is_refused_too(
    keyvault: Run, offline: Run, desk: Deployment, tmp_path: Path
) -> None:
    """A period in which nothing was asked says nothing, whatever came before it."""
    assert keyvault("sign", *transfer(nonce=36)).exit_code == 0
    draft, out = draft_of(keyvault, tmp_path / "draft.yaml", window="39h"), tmp_path / "empty.replay"
    document_of(offline("policy", "replay", draft, "--ledger", desk.dir / "ledger.db", "--out", out, "--json"))
    report = json.loads(out.read_text())
    report["decisions"], report["since_ms"] = 0, report["until_ms"]
    out.write_text(json.dumps(report, sort_keys=True, separators=(",", ":")))
    refused = keyvault("policy", "apply", draft, "--next-version", "--replay", out)
    assert refused.exit_code == 2
    assert "is empty (0 requests from" in refused.stderr
    assert "and the ledger has requests. Make it again with a longer --since" in refused.stderr


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"root": "ab" * 32}, "was made from another ledger: its first"),
        ({"enclave": "other"}, "is about enclave other, and this is "),
        ({"entries": "x"}, "is no report of"),
        ({"root": "x"}, "is no report of"),
    ],
)
def test_a_report_of_another_ledger_is_refused(
    keyvault: Run, offline: Run, desk: Deployment, tmp_path: Path, change: dict[str, str], problem: str
) -> None:
    """What it says that it read is held against the enclave's own checkpoint, flag or not."""
    draft, out = draft_of(keyvault, tmp_path / "draft.yaml", window="39h"), tmp_path / "other.replay"
    document_of(offline("policy", "replay", draft, "--ledger", desk.dir / "ledger.db", "--out", out, "--json"))
    out.write_text(json.dumps(json.loads(out.read_text()) | change, sort_keys=True, separators=(",", ":")))
    refused = keyvault("policy", "apply", draft, "--next-version", "--replay", out, "--short-replay")
    assert refused.exit_code == 2
    assert problem in refused.stderr


def test_without_a_replay_the_proposal_says_none(keyvault: Run, tmp_path: Path) -> None:
    """A policy that nobody held against the history is proposed with `none`, in plain words too."""
    draft = draft_of(keyvault, tmp_path / "draft.yaml", window="37h")
    refused = keyvault("policy", "apply", draft, "--next-version")
    assert refused.exit_code == 2
    assert "show members what it would have done" in refused.stderr
    without = ("policy", "apply", draft, "--next-version", "--without-replay", "--json")
    proposed = document_of(keyvault(*without))["proposal"]
    assert proposed["parameters"]["replay_sha256"] == "none"
    assert "no replay of the ledger under it was made" in proposed["summary"]
    keyvault("approve", proposed["short"], "--member", "carol", "--veto", "--yes")


def test_diff_says_what_changes_and_which_rule_is_why(offline: Run, policy_file: Path, tmp_path: Path) -> None:
    """Rules and limits that come, go and change are listed; what loosens is named, and nothing else."""
    new = tmp_path / "new.yaml"
    text = policy_file.read_text().replace("amount: 2 ether", "amount: 3 ether").replace("count: 1", "count: 0")
    new.write_text(text.replace("id: mail\n", "id: post\n"))
    document = document_of(offline("policy", "diff", policy_file, new, "--json"))
    assert document["rules"] == {"added": ["post"], "removed": ["mail"], "changed": ["transfers"]}
    assert document["limits"] == {"added": [], "removed": [], "changed": ["slow"]}
    assert document["only_takes_away"] is False
    assert [(each["part"], each["name"]) for each in document["loosened_by"]] == [("rule", "transfers")]
    shown = offline("policy", "diff", policy_file, new).stdout
    assert "~ transfers" in shown
    assert "rule transfers allows what no single allow rule allowed before" in shown


def test_diff_of_a_tightening_says_so(offline: Run, policy_file: Path, tmp_path: Path) -> None:
    """A policy that permits less only takes away; the other way round the limit is named."""
    new = tmp_path / "new.yaml"
    new.write_text(policy_file.read_text().replace("count: 1", "count: 0"))
    assert "It only takes away." in offline("policy", "diff", policy_file, new).stdout
    back = document_of(offline("policy", "diff", new, policy_file, "--json"))
    assert [(each["part"], each["name"]) for each in back["loosened_by"]] == [("limit", "slow")]


def test_diff_with_what_is_in_force(keyvault: Run, tmp_path: Path) -> None:
    """--in-force compares with the server's policy; two files and --in-force are a usage error."""
    draft = draft_of(keyvault, tmp_path / "draft.yaml")
    document = document_of(keyvault("policy", "diff", "--in-force", draft, "--json"))
    assert document["rules"] == {"added": [], "removed": [], "changed": []}
    assert document["only_takes_away"] is True
    assert keyvault("policy", "diff", "--in-force", draft, draft).exit_code == 2
    assert keyvault("policy", "diff", draft).exit_code == 2


def test_shadow_says_what_it_would_have_done(keyvault: Run, offline: Run, desk: Deployment, tmp_path: Path) -> None:
    """A shadow deny rule lets a request pass, and afterwards it is told that it would have refused it."""
    ghost = "  - {id: ghost, verdict: deny, shadow: true, keys: [desk], kinds: [evm-transaction]}\nlimits:"
    draft = draft_of(keyvault, tmp_path / "draft.yaml", ("limits:", ghost))
    document_of(keyvault("policy", "apply", draft, "--next-version", "--without-replay", "--json"))
    assert keyvault("sign", *transfer(nonce=41)).exit_code == 0
    shadow = ("policy", "shadow", "--ledger", desk.dir / "ledger.db")
    document = document_of(offline(*shadow, "--since", "1h", "--json"))
    ghost_sum = document["rules"]["ghost"]
    assert ghost_sum["matched"] == ghost_sum["would_have"]["deny"]["count"] == 1
    assert "1 would have been refused" in offline(*shadow).stdout


def test_a_ledger_that_is_not_there(offline: Run, policy_file: Path, tmp_path: Path) -> None:
    """A missing ledger ends with 3, and more entries than it has with 2."""
    assert offline("policy", "replay", policy_file, "--ledger", tmp_path / "none.db").exit_code == 3
    assert offline("policy", "replay", policy_file).exit_code == 2
