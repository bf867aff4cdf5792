from collections.abc import Callable

from click.testing import Result

from tests.cli.conftest import document_of

Run = Callable[..., Result]


def proposed(keyvault: Run, name: str) -> dict[str, str]:
    found: dict[str, str] = document_of(keyvault("key", "create", name, "--algorithm", "p256", "--json"))["proposal"]
    return found


def names(result: Result) -> list[str]:
    return [each["short"] for each in document_of(result)["proposals"]]


def test_what_waits_is_listed_newest_first(keyvault: Run) -> None:
    """Open proposals are listed for people and programs; those that ended only with --all."""
    first, second = proposed(keyvault, "listed-1"), proposed(keyvault, "listed-2")
    waiting = names(keyvault("proposals", "list", "--json"))
    assert waiting.index(second["short"]) < waiting.index(first["short"])
    row = next(line for line in keyvault("proposals", "list").stdout.splitlines() if line.startswith(first["short"]))
    assert "Create key listed-1" in row
    assert "1 of everybody" in row
    assert keyvault("approve", first["short"], "--veto", "--member", "carol", "--yes").exit_code == 0
    assert first["short"] not in names(keyvault("proposals", "list", "--json"))
    assert first["short"] in names(keyvault("proposals", "list", "--all", "--json"))


def test_a_proposal_is_found_by_its_beginning(keyvault: Run) -> None:
    """Eight digits or more name a proposal; fewer are malformed, others are not found."""
    made = proposed(keyvault, "found")
    for name in (made["id"][:8], made["short"], made["id"], made["name"]):
        shown = document_of(keyvault("proposals", "show", name, "--json"))["proposal"]
        assert (shown["id"], shown["requester"], shown["state"]) == (made["id"], "alice", "OPEN")
    assert keyvault("proposals", "show", made["id"][:7]).exit_code == 2
    assert keyvault("proposals", "show", "0" * 12).exit_code == 3


def test_everybody_who_reads_may_look(keyvault: Run) -> None:
    """Auditors, approvers and admins see proposals; a bot may not list them."""
    for identity in ("auditor/demo", "approver/carol", "admin/bob"):
        assert keyvault("proposals", "list", "--as", identity).exit_code == 0
    assert keyvault("proposals", "list", "--as", "bot/demo").exit_code == 1


def test_watch_ends_with_what_became_of_it(keyvault: Run) -> None:
    """A watch ends with 0 for what was carried out, with 1 for what was vetoed or still waits when its time is up."""
    done, vetoed, waiting = (proposed(keyvault, f"watched-{each}")["short"] for each in ("done", "vetoed", "waiting"))
    assert keyvault("approve", done, "--member", "bob", "--yes").exit_code == 0
    assert keyvault("approve", vetoed, "--veto", "--member", "bob", "--yes").exit_code == 0
    assert keyvault("proposals", "watch", done).exit_code == 0
    ended = keyvault("proposals", "watch", vetoed, "--json")
    assert ended.exit_code == 1
    assert '"state": "VETOED"' in ended.stdout
    late = keyvault("proposals", "watch", waiting, "--wait", "0.2")
    assert late.exit_code == 1
    assert "Still open after 0.2 s." in late.stderr
