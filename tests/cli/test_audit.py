import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from keyvault.ledger.gather import evidence_of
from keyvault.ledger.merkle import Tree, leaf_hash
from tests.cli.conftest import carried_out, document_of
from tests.deployment import Deployment, copy_of, new_deployment, served
from tests.ledger.ledgers import Ledger, secp256k1_key

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory, offline: Run) -> Deployment:
    """A deployment with a little history, no longer served."""
    made = new_deployment(tmp_path_factory.mktemp("audit") / "past")
    with served(made):
        where = ("--deployment", made.dir)
        asking = (*where, "--member", "alice", "--json")
        carried_out(offline("key", "create", "k-1", "--algorithm", "p256", "--approve-with", "bob", *asking))
        assert offline("sign", "digest", "--key", "k-1", "0x" + "22" * 32, *where).exit_code == 1
        carried_out(offline("freeze", "key", "k-1", *asking))
        assert offline("audit", "proof", "4", "--out", made.dir / "4.tlog-proof", *where).exit_code == 0
    return made


@pytest.fixture
def own(past: Deployment, tmp_path: Path) -> Deployment:
    """A copy of the past that a test may damage."""
    return copy_of(past, tmp_path / "own")


def test_a_ledger_verifies_offline_under_the_pinned_key(offline: Run, past: Deployment) -> None:
    """A file that is right ends with 0, says what was verified, and names the key that was expected."""
    result = offline("audit", "verify", past.ledger, "--vkey-file", past.dir / "log.vkey", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["ok"], document["problems"]) == (True, [])
    assert document["entries"] == document["replayed"] == 8
    assert document["log_vkey"] == document["log_vkey_expected"] == past.log_vkey
    assert document["checkpoints_verified"] >= 1


def test_without_a_pinned_key_it_says_what_that_is_worth(offline: Run, past: Deployment) -> None:
    """A ledger that is only checked against itself is said to be so, on stderr."""
    result = offline("audit", "verify", past.ledger)
    assert result.exit_code == 0
    assert "against itself only" in result.stderr
    assert "nothing is wrong" in result.stdout


def test_a_changed_entry_is_found_and_ends_with_1(offline: Run, own: Deployment) -> None:
    """A changed entry lies in the range that is named, which ends at the newest checkpoint; the exit code is 1."""
    with sqlite3.connect(own.ledger) as connection:
        connection.execute("DROP TRIGGER entries_are_never_changed")
        (body,) = connection.execute("SELECT body FROM entries WHERE idx = 5").fetchone()
        connection.execute("UPDATE entries SET body = ? WHERE idx = 5", (body.replace(b"\x22" * 32, b"\x23" * 32),))
    connection.close()
    result = offline("audit", "verify", own.ledger, "--log-vkey", own.log_vkey, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["problems"][0]["index"] <= 5 <= document["problems"][0]["last"]


def test_a_kept_checkpoint_is_held_against_the_ledger(offline: Run, past: Deployment, own: Deployment) -> None:
    """The file beside the ledger agrees with it; once ledger and checkpoints are cut, it ends with 1."""
    arguments = ("audit", "verify", own.ledger, "--log-vkey", own.log_vkey)
    kept = ("--checkpoint", past.dir / "ledger.db.checkpoint")
    assert offline(*arguments, *kept).exit_code == 0
    with sqlite3.connect(own.ledger) as connection:
        connection.executescript(
            "DROP TRIGGER entries_are_never_deleted; DROP TRIGGER checkpoints_are_never_deleted;"
            "DELETE FROM entries WHERE idx > 2; DELETE FROM checkpoints WHERE size > 3"
        )
        leaves = [leaf_hash(body) for (body,) in connection.execute("SELECT body FROM entries ORDER BY idx")]
        connection.execute("UPDATE head SET size = 3, root = ?", (Tree.of(leaves).root(),))
    connection.close()
    assert offline(*arguments).exit_code == 0
    result = offline(*arguments, *kept)
    assert result.exit_code == 1
    assert "WRONG: the checkpoint that you kept covers 8 entries, the ledger has 3" in result.stdout


@pytest.mark.parametrize("text", ["", "\n", "keyvault/hot/0123456789abcdef+00000000+AQ=="])
def test_a_file_without_a_key_pins_nothing_silently(offline: Run, past: Deployment, tmp_path: Path, text: str) -> None:
    """A key file that is empty or holds something else ends the command and is named; nothing is verified without."""
    file = tmp_path / "empty.vkey"
    file.write_text(text)
    result = offline("audit", "verify", past.ledger, "--vkey-file", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{file}: cannot be read as the ledger's key" in result.stderr
    given = offline("audit", "verify", past.ledger, "--log-vkey", text)
    assert (given.exit_code, given.stdout) == (2, "")


def test_another_log_s_key_is_found(offline: Run, past: Deployment, desk: Deployment) -> None:
    """A ledger of another deployment does not pass under our key."""
    result = offline("audit", "verify", past.ledger, "--log-vkey", desk.log_vkey)
    assert result.exit_code == 1
    assert "WRONG: " in result.stdout


@pytest.mark.parametrize("command", [("verify",), ("show",), ("export", "/nowhere/out")])
def test_a_file_that_is_not_there_ends_with_3(offline: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    """A path that is not there is named."""
    result = offline("audit", command[0], tmp_path / "none.db", *command[1:])
    assert result.exit_code == 3
    assert f"{tmp_path / 'none.db'}: there is no such file or folder" in result.stderr


def test_a_file_that_is_no_ledger_is_said_to_be_none(offline: Run, tmp_path: Path) -> None:
    """Garbage is refused in words."""
    (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
    result = offline("audit", "verify", tmp_path / "garbage")
    assert result.exit_code == 2
    assert "cannot be read as a ledger" in result.stderr


def test_show_tells_history_in_plain_words(offline: Run, past: Deployment) -> None:
    """Every entry says when, who, what, and why."""
    entries = json.loads(offline("audit", "show", past.ledger, "--json").stdout)["entries"]
    assert [each["index"] for each in entries] == list(range(8))
    assert [(each["kind"], each["who"].rpartition("/")[2]) for each in entries if each["index"] != 1] == [
        ("genesis", ""),
        ("proposal_made", "alice"),
        ("ballot_cast", "bob"),
        ("key_created", ""),
        ("signature_refused", "demo"),
        ("proposal_made", "alice"),
        ("freeze_changed", ""),
    ]
    assert entries[2]["what"].startswith("Asks: Create key k-1 (P256) in enclave hot")
    short = entries[2]["proposal"][:12]
    assert entries[3]["what"] == f"Approves proposal {short}."
    assert entries[4]["what"] == "Key k-1 version 1 (P256) is made: generated."
    assert entries[4]["why"] == f"carries out proposal {short}"
    assert entries[7]["what"] == "FROZEN: key k-1; nothing is signed for it."
    refused = entries[5]
    assert refused["who"] == "spiffe://keyvault.local/bot/demo"
    assert refused["what"].startswith("Refused to sign with k-1: ")
    assert refused["why"].startswith("NO_RULE_ALLOWS: ")
    assert (refused["reason"], refused["policy_version"]) == ("NO_RULE_ALLOWS", 1)
    text = offline("audit", "show", past.ledger, "--start", "4", "--count", "1").stdout
    assert "bot/demo" not in text
    assert "Key k-1 version 1 (P256) is made: generated." in text


def test_show_live_tells_the_same_as_the_file(keyvault: Run, desk: Deployment) -> None:
    """What a server shows is what its file has."""
    live = keyvault("audit", "show", "--live", "--count", "5", "--json")
    assert live.exit_code == 0, live.stderr
    assert live.stdout == keyvault("audit", "show", desk.ledger, "--count", "5", "--json").stdout


def test_an_export_verifies_like_the_ledger(offline: Run, past: Deployment, tmp_path: Path) -> None:
    """The tiles of an export have the same entries; an existing folder is never written to."""
    folder = tmp_path / "tiles"
    exported = offline("audit", "export", past.ledger, folder, "--json")
    assert exported.exit_code == 0, exported.stderr
    covered = json.loads(exported.stdout)["entries"]
    verified = offline("audit", "verify", folder, "--log-vkey", past.log_vkey, "--json")
    assert verified.exit_code == 0
    assert json.loads(verified.stdout)["entries"] == covered
    assert offline("audit", "export", past.ledger, folder).exit_code == 2


def test_a_proof_convinces_offline(offline: Run, past: Deployment, tmp_path: Path) -> None:
    """The files of `audit proof` show the entry to anybody who has the log's key, and nothing for another entry."""
    proof, entry, pinned = past.dir / "4.tlog-proof", past.dir / "4.entry", ("--log-vkey", past.log_vkey)
    good = offline("audit", "check-proof", proof, entry, *pinned)
    assert good.exit_code == 0, good.stderr
    assert "Key k-1 version 1 (P256) is made: generated." in good.stdout
    changed = bytearray(entry.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "forged").write_bytes(changed)
    bad = offline("audit", "check-proof", proof, tmp_path / "forged", *pinned)
    assert bad.exit_code == 1
    assert bad.stdout == ""


def test_a_proof_without_a_key_shows_nothing(offline: Run, past: Deployment) -> None:
    """Without the log's key nothing is said to be proven."""
    result = offline("audit", "check-proof", past.dir / "4.tlog-proof", past.dir / "4.entry")
    assert result.exit_code == 2
    assert "--vkey-file" in result.stderr


def test_a_proof_of_an_entry_that_is_not_there_ends_with_3(keyvault: Run, tmp_path: Path) -> None:
    """An index beyond the end is not found, and no file is written."""
    result = keyvault("audit", "proof", "1000000", "--out", tmp_path / "p.tlog-proof")
    assert result.exit_code == 3
    assert list(tmp_path.iterdir()) == []


# Evidence ---------------------------------------------------------------------------------------------------------


def test_a_bundle_of_evidence_convinces_anybody_with_the_key(offline: Run, past: Deployment, tmp_path: Path) -> None:
    """`audit evidence` writes one file; `check-evidence` says from it alone who asked, who approved, what was done."""
    bundle = tmp_path / "key.json"
    made = offline("audit", "evidence", "4", past.ledger, "--out", bundle)
    assert made.exit_code == 0, made.stderr
    assert f"Wrote {bundle}." in made.stdout
    checked = offline("audit", "check-evidence", bundle, "--vkey-file", past.dir / "log.vkey")
    assert checked.exit_code == 0, checked.stderr
    for words in ("Key k-1 version 1 (P256) was generated", "asked     by alice", "bob approved", "Not shown: that"):
        assert words in checked.stdout
        assert words in made.stdout
    document = document_of(offline("audit", "check-evidence", bundle, "--log-vkey", past.log_vkey, "--json"))
    assert (document["ok"], document["index"], document["requester"]) == (True, 4, "alice")
    assert [each["voice"] for each in document["said"]] == ["request", "approve"]
    assert document["done"]["quorums"][0]["approved_by"] == ["bob"]


def test_a_proposal_leads_to_its_evidence(offline: Run, past: Deployment, tmp_path: Path) -> None:
    """By the first digits of a proposal's name the bundle is the same as by the index of what carried it out."""
    entries = json.loads(offline("audit", "show", past.ledger, "--json").stdout)["entries"]
    name = entries[6]["proposal"][:12]
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    assert offline("audit", "evidence", "--proposal", name, past.ledger, "--out", one).exit_code == 0
    assert offline("audit", "evidence", "7", past.ledger, "--out", other).exit_code == 0
    assert one.read_bytes() == other.read_bytes()
    again = offline("audit", "evidence", "7", past.ledger, "--out", other)
    assert again.exit_code == 2
    assert "never overwritten" in again.stderr


def test_evidence_from_a_server_is_that_of_its_file(keyvault: Run, desk: Deployment, tmp_path: Path) -> None:
    """With --live the ledger is read from the server, and the log's key of the deployment is pinned."""
    live = tmp_path / "live.json"
    document = document_of(keyvault("audit", "evidence", "4", "--live", "--out", live, "--json"))
    assert document["file"] == str(live)
    checked = keyvault("audit", "check-evidence", live, "--log-vkey", desk.log_vkey)
    assert checked.exit_code == 0, checked.stderr


def test_changed_evidence_ends_with_1(offline: Run, past: Deployment, desk: Deployment, tmp_path: Path) -> None:
    """A bundle that was changed, or that is of another log, shows nothing; garbage is malformed."""
    bundle, pinned = tmp_path / "key.json", ("--log-vkey", past.log_vkey)
    assert offline("audit", "evidence", "4", past.ledger, "--out", bundle).exit_code == 0
    other = offline("audit", "check-evidence", bundle, "--log-vkey", desk.log_vkey)
    assert (other.exit_code, other.stdout) == (1, "")
    bundle.write_bytes(bundle.read_bytes().replace(b'"member":"bob"', b'"member":"eve"'))
    changed = offline("audit", "check-evidence", bundle, *pinned)
    assert (changed.exit_code, changed.stdout) == (1, "")
    assert "says something else than its entries" in changed.stderr
    bundle.write_bytes(b"garbage")
    assert offline("audit", "check-evidence", bundle, *pinned).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("0", "LEDGER"), 2, "entry 0 is about no proposal"),
        (("5", "LEDGER"), 2, "entry 5 is about no proposal"),
        (("8", "LEDGER"), 3, "entry 8 is not there"),
        (("LEDGER",), 2, "give INDEX or --proposal"),
        (("four", "LEDGER"), 2, "is not the index of an entry"),
        (("4", "missing.db"), 3, "there is no such file or folder"),
        (("--proposal", "0" * 12, "LEDGER"), 3, "no proposals in the ledger"),
        (("--proposal", "xyz", "LEDGER"), 2, "hex digits"),
        (("4", "--proposal", "0" * 12, "LEDGER"), 2, "give INDEX or --proposal"),
    ],
)
def test_what_has_no_evidence_is_said(
    offline: Run, past: Deployment, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """An entry that members did not decide, one that is not there, or a call that names none: no file, and why."""
    given = [past.ledger if each == "LEDGER" else each for each in arguments]
    result = offline("audit", "evidence", *given, "--out", tmp_path / "out.json")
    assert result.exit_code == code, result.stderr
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_evidence_without_a_key_shows_nothing(offline: Run, tmp_path: Path) -> None:
    """Without the log's key nothing is said to be shown."""
    result = offline("audit", "check-evidence", tmp_path / "any.json")
    assert result.exit_code == 2
    assert "--vkey-file" in result.stderr


def test_the_payload_that_members_approved_is_decoded_again(
    offline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an approved signature the bundle's payload is decoded here; what means something else is refused."""
    ledger = Ledger()
    ledger.start()
    ledger.create_key("vault", secp256k1_key())
    index = ledger.sign_approved()
    ledger.sign_checkpoint()
    bundle = tmp_path / "signature.json"
    bundle.write_bytes(evidence_of(ledger, index=index)[0])
    arguments = ("audit", "check-evidence", bundle, "--log-vkey", ledger.key.vkey)
    assert "payload   Does something at an unknown place that keyvault cannot read." in offline(*arguments).stdout
    monkeypatch.setattr("keyvault.intents.describe", lambda _: "Sends nothing to nobody.")
    result = offline(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "than the members were told" in result.stderr
