"""What a copy of the ledger may be believed about."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.conftest import carried_out, document_of, run
from tests.deployment import Deployment, deployment

Run = Callable[..., Result]

DENIES = """\
version: 2
rules:
  - id: nobody
    verdict: deny
    keys: any
    principals: any
    kinds: [raw-digest]
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose charter and policy the test changes."""
    with deployment(tmp_path_factory.mktemp("copied")) as made:
        yield made


def copy_of_ledger(made: Deployment, path: Path) -> Path:
    """Return a copy of the ledger as it is now."""
    with closing(sqlite3.connect(made.ledger)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    return path


def test_an_older_or_foreign_copy_tells_nothing(own: Deployment, desk: Deployment, tmp_path: Path) -> None:
    """Another ledger, another policy or charter in force, or entries that lack the proposal: nothing is signed."""
    where = ("--deployment", own.dir)
    oldest = copy_of_ledger(own, tmp_path / "oldest.db")

    def refused(name: str, ledger: Path, *words: str) -> None:
        result = run("approve", name, "--ledger", ledger, "--yes", "--member", "bob", *where)
        assert result.exit_code == 2, result.output
        for word in words:
            assert word in result.stderr
        shown = document_of(run("proposals", "show", name, "--json", *where))["proposal"]
        assert (shown["approved_by"], shown["ballots"]) == ([], [])

    def asked(*command: object) -> str:
        return str(document_of(run(*command, "--member", "alice", "--json", *where))["proposal"]["short"])

    charter = tmp_path / "charter.yaml"
    charter.write_text(run("charter", "show", *where).stdout.replace("thaw: 1 of everybody", "thaw: 1 of admins"))
    change = ("charter", "apply", charter, "--next-version", "--member", "alice", "--json", *where)
    carried_out(run(*change, "--approve-with", "bob"))
    charter.write_text(charter.read_text().replace("thaw: 1 of admins", "thaw: 1 of everybody"))
    refused(asked(*change[:4]), oldest, str(oldest), "newer copy", "charter version 1 is in force", "proposed is 3")

    (tmp_path / "policy.yaml").write_text(DENIES)
    carried_out(run("policy", "apply", tmp_path / "policy.yaml", "--member", "alice", "--json", *where))
    key = asked("key", "create", "one", "--algorithm", "p256")
    refused(key, oldest, "policy version 1 is in force, the proposal was made under 2")
    fresh = copy_of_ledger(own, tmp_path / "fresh.db")
    late = asked("key", "create", "two", "--algorithm", "p256")
    refused(late, fresh, "entries, and the proposal is entry")

    certs = own.dir / "certs"
    unpinned = (
        *("--target", f"127.0.0.1:{own.port}", "--enclave", "hot", "--ca", own.dir / "ca" / "ca.crt"),
        *("--cert", certs / "admin-bob.crt", "--cert-key", certs / "admin-bob.key"),
        *("--member", "bob", "--key", own.dir / "members" / "bob.key"),
    )
    foreign = run("approve", late, "--ledger", desk.ledger, "--yes", *unpinned)
    assert foreign.exit_code == 2
    assert "give a copy of that ledger" in foreign.stderr
    carried_out(run("approve", key, "--ledger", fresh, "--yes", "--json", "--member", "bob", *where))
