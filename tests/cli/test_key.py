import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from keyvault.cli import pki
from tests.cli.conftest import SECRET, carried_out, document_of
from tests.deployment import Deployment

Run = Callable[..., Result]

FIELDS = {
    "key",
    "version",
    "name",
    "primary",
    "algorithm",
    "state",
    "provenance",
    "public_key",
    "public_key_pem",
    "ethereum_address",
    "create_time_ms",
    "rotate_by_ms",
    "destroy_at_ms",
    "sealed",
    "proved_by",
    "on_every_token",
}
BOB = ("--approve-with", "bob")


@pytest.mark.parametrize(
    ("algorithm", "public_key_chars"), [("secp256k1", 2 + 130), ("p256", 2 + 130), ("ed25519", 2 + 64)]
)
def test_a_key_is_created_and_shown(keyvault: Run, algorithm: str, public_key_chars: int) -> None:
    """`key create`, approved, generates in the token and prints the public part; `key show` prints the same."""
    created = keyvault("key", "create", f"new-{algorithm}", "--algorithm", algorithm, *BOB, "--json")
    document = carried_out(created)["key"]
    assert set(document) == FIELDS
    assert (document["algorithm"], document["state"]) == (algorithm.upper(), "ACTIVE")
    assert document["provenance"] == "GENERATED"
    assert len(document["public_key"]) == public_key_chars
    assert bool(document["ethereum_address"]) is (algorithm == "secp256k1")
    assert document_of(keyvault("key", "show", f"new-{algorithm}", "--json")) == document


def test_a_key_waits_for_another_member(keyvault: Run) -> None:
    """Alone `key create` only proposes: it says what is needed and the exact next command, which makes the key."""
    asked = keyvault("key", "create", "waiting", "--algorithm", "p256")
    assert asked.exit_code == 0
    assert "1 of everybody besides the asker" in asked.stdout
    command = asked.stdout.splitlines()[-1].partition(":")[2].split()
    assert command[:2] == ["keyvault", "approve"]
    assert keyvault("key", "show", "waiting").exit_code == 3
    carried_out(keyvault(*command[1:], "--member", "carol", "--yes", "--json"))
    assert keyvault("key", "show", "waiting").exit_code == 0


def test_a_key_exists_once(keyvault: Run) -> None:
    """A second creation under the same name is refused by the state, before anybody is asked to approve it."""
    again = keyvault("key", "create", "desk", "--algorithm", "secp256k1")
    assert again.exit_code == 1
    assert "Refused (STATE_MISMATCH): key desk exists already" in again.stderr


def test_a_key_is_disabled_alone_and_enabled_together(keyvault: Run) -> None:
    """One member disables a key at once; it signs nothing until another member, too, wants it enabled."""
    carried_out(keyvault("key", "create", "turned", "--algorithm", "secp256k1", *BOB, "--json"))
    disabled = carried_out(keyvault("key", "disable", "turned", "--json"))
    assert disabled["key"]["state"] == "DISABLED"
    assert keyvault("key", "disable", "turned").exit_code == 1
    by_carol = keyvault("key", "disable", "turned", "--member", "carol", "--json")
    assert "STATE_MISMATCH" in by_carol.stderr, "an approver is let in by her own certificate, without --as"
    refused = keyvault("sign", "digest", "--key", "turned", "0x" + "11" * 32)
    assert refused.exit_code == 1
    assert "Refused (KEY_NOT_ACTIVE)" in refused.stderr
    assert document_of(keyvault("key", "enable", "turned", "--json"))["key"] is None
    assert carried_out(keyvault("key", "enable", "turned", *BOB, "--json"))["key"]["state"] == "ACTIVE"


def test_a_key_is_rotated_and_its_old_version_kept_from_destruction(keyvault: Run) -> None:
    """A rotation makes version 2 the primary; version 1 is scheduled for destruction, and kept, disabled."""
    carried_out(keyvault("key", "create", "turning", "--algorithm", "ed25519", *BOB, "--json"))
    rotated = carried_out(keyvault("key", "rotate", "turning", *BOB, "--json"))
    assert (rotated["key"]["version"], rotated["key"]["primary"]) == (2, True)
    destroyed = carried_out(keyvault("key", "destroy", "turning", "--version", "1", "--after", "7d", *BOB, "--json"))
    assert destroyed["key"]["state"] == "DESTRUCTION_SCHEDULED"
    assert destroyed["key"]["destroy_at_ms"] > destroyed["key"]["create_time_ms"]
    listed = keyvault("key", "versions", "turning").stdout
    assert "destroyed 20" in listed
    assert "1 (not primary)" in listed
    assert (
        carried_out(keyvault("key", "keep", "turning", "--version", "1", *BOB, "--json"))["key"]["state"] == "DISABLED"
    )


def test_a_key_that_is_due_for_rotation_is_warned_of(keyvault: Run) -> None:
    """A key with a cryptoperiod that ends within the notice is named, with the command that rotates it."""
    carried_out(
        keyvault("key", "create", "aging", "--algorithm", "p256", "--cryptoperiod", "7d", *BOB, "--json"),
    )
    listed = keyvault("key", "list")
    assert "Due for rotation: aging version 1, rotate by 20" in listed.stderr
    assert "keyvault key rotate aging" in listed.stderr
    assert "desk" not in listed.stderr


def test_a_pre_active_key_signs_only_once_enabled(keyvault: Run) -> None:
    """`--pre-active` makes a key that signs nothing before members enable it."""
    made = carried_out(keyvault("key", "create", "sleeping", "--algorithm", "p256", "--pre-active", *BOB, "--json"))
    assert made["key"]["state"] == "PRE_ACTIVE"
    assert keyvault("sign", "digest", "--key", "sleeping", "0x" + "11" * 32).exit_code == 1
    assert carried_out(keyvault("key", "enable", "sleeping", *BOB, "--json"))["key"]["state"] == "ACTIVE"


def test_the_list_has_every_key_in_order(keyvault: Run) -> None:
    """`key list` shows all keys by name, for people as a table, for programs as JSON."""
    names = [each["key"] for each in json.loads(keyvault("key", "list", "--json").stdout)["keys"]]
    assert names == sorted(names)
    assert {"desk", "desk-ed", "limited", "mail-secret"} <= set(names)
    rows = keyvault("key", "list", "--as", "auditor/demo").stdout.splitlines()
    assert rows[0].split()[:3] == ["key", "version", "algorithm"]
    assert any(row.startswith("mail-secret") and "HMAC_SHA256" in row and "IMPORTED" in row for row in rows)


def test_an_unknown_key_is_not_found(keyvault: Run) -> None:
    """A key that is not there ends with 3."""
    result = keyvault("key", "show", "nobody")
    assert result.exit_code == 3
    assert "enclave hot has no key nobody" in result.stderr


def test_a_secret_is_imported_from_a_safe_file_only(keyvault: Run, desk: Deployment, tmp_path: Path) -> None:
    """`key import` takes a file of its owner alone or stdin; the secret is in no output, log or ledger."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    unsafe = keyvault("key", "import", "venue-1", "--secret-file", file)
    assert unsafe.exit_code == 2
    assert f"chmod 600 {file}" in unsafe.stderr
    file.chmod(0o600)
    imported = keyvault("key", "import", "venue-1", "--secret-file", file, *BOB, "--json")
    assert carried_out(imported)["key"]["provenance"] == "IMPORTED"
    for text in (unsafe.output, imported.output, desk.log.read_text()):
        assert SECRET not in text
    assert SECRET.encode() not in desk.ledger.read_bytes()


def test_a_secret_for_hmac_sha512_is_imported_and_rotated(keyvault: Run) -> None:
    """Kraken's secrets stand there as Base64 of 64 bytes; a longer one is hashed as its own HMAC does."""
    secret = base64.b64encode(bytes(range(64))).decode()
    options = ("--secret-file", "-", "--base64", *BOB, "--json")
    imported = keyvault("key", "import", "kraken-1", "--algorithm", "hmac-sha512", *options, stdin=secret + "\n")
    document = carried_out(imported)["key"]
    assert (document["algorithm"], document["provenance"]) == ("HMAC_SHA512", "IMPORTED")
    longer = base64.b64encode(bytes(200)).decode()
    rotated = carried_out(keyvault("key", "rotate", "kraken-1", *options, stdin=longer))["key"]
    assert (rotated["version"], rotated["algorithm"]) == (2, "HMAC_SHA512")


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "hmac-sha512"])
def test_no_secret_is_created(keyvault: Run, algorithm: str) -> None:
    """A secret that only the token knows is of no use to a venue: `key create` does not know the word."""
    result = keyvault("key", "create", "venue-3", "--algorithm", algorithm)
    assert result.exit_code == 2
    assert "'secp256k1', 'p256', 'ed25519'" in result.stderr


@pytest.mark.parametrize(
    ("stdin", "options", "says"),
    [
        ("", (), "is empty"),
        ("", ("--base64",), "is empty"),
        ("xyz", ("--hex",), "is not hex"),
        ("YWJj!", ("--base64",), "is not base64"),
        ("YWJjZA", ("--base64",), "is not base64"),
        ("YWJjZH==", ("--base64",), "is not base64"),
        ("a" * 20_000, (), "is longer than"),
    ],
)
def test_a_secret_that_is_none_is_refused_unquoted(
    keyvault: Run, stdin: str, options: tuple[str, ...], says: str
) -> None:
    """What is wrong with a secret is said without showing it."""
    result = keyvault("key", "import", "venue-2", "--secret-file", "-", *options, stdin=stdin)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not stdin or stdin not in result.stderr


def test_a_certificate_alone_changes_nothing(keyvault: Run, tmp_path: Path, offline: Run) -> None:
    """An admin's certificate with the approval key of somebody else is refused, as asker and as approver."""
    assert offline("member", "keygen", "mallory", "--out", tmp_path / "alice", "--no-passphrase").exit_code == 0
    stranger = tmp_path / "alice"
    result = keyvault("key", "create", "stolen", "--algorithm", "p256", "--key", stranger)
    assert result.exit_code == 1
    assert "Refused (NOT_AUTHORIZED)" in result.stderr
    approved = keyvault("key", "create", "stolen", "--algorithm", "p256", "--approver-key", f"bob={stranger}")
    assert approved.exit_code == 1
    assert "Refused (NOT_AUTHORIZED)" in approved.stderr
    assert keyvault("key", "show", "stolen").exit_code == 3


def test_nobody_approves_what_they_asked_for(keyvault: Run) -> None:
    """The asker's own approval is refused: it takes two persons."""
    alone = keyvault("key", "create", "alone", "--algorithm", "p256", "--approve-with", "alice")
    assert alone.exit_code == 1
    assert "Refused (NOT_AUTHORIZED)" in alone.stderr
    assert keyvault("key", "show", "alone").exit_code == 3


def test_a_bot_may_not_list_keys(keyvault: Run) -> None:
    """The role in the certificate decides which door opens."""
    result = keyvault("key", "list", "--as", "bot/demo")
    assert result.exit_code == 1
    assert "needs role admin" in result.stderr


def test_a_certificate_of_another_authority_ends_with_5(keyvault: Run, tmp_path: Path) -> None:
    """Neither side talks to a stranger; whose certificate is wrong is said."""
    pki.create_authority(tmp_path / "ca", "keyvault.local")
    own = pki.issue(tmp_path / "ca", "admin", "admin", tmp_path / "certs")
    credentials = ("--cert", own.certificate, "--cert-key", own.private_key, "--timeout", "0.5")
    server_refuses = keyvault("key", "list", *credentials)
    assert server_refuses.exit_code == 5
    assert f"{own.certificate}: is not from the authority in --ca" in server_refuses.stderr
    we_refuse = keyvault("key", "list", "--ca", tmp_path / "ca" / "ca.crt", "--timeout", "0.5")
    assert we_refuse.exit_code == 5
    assert "Not authenticated" in we_refuse.stderr


def test_nobody_there_ends_with_4(keyvault: Run) -> None:
    """A server that does not answer is unavailable; a signature's request id is printed for the next try."""
    result = keyvault(
        *("sign", "digest", "--key", "desk", "0x" + "11" * 32, "--request-id", "again-1"),
        *("--target", "127.0.0.1:1", "--timeout", "0.3"),
    )
    assert result.exit_code == 4
    assert result.stderr.endswith("Ask again with the same request id: --request-id again-1\n")
    assert result.stdout == ""


def test_everything_can_be_named_without_a_folder(offline: Run, desk: Deployment) -> None:
    """A machine that holds one identity only names server, authority, certificate, enclave and approval keys."""
    certs, members = desk.dir / "certs", desk.dir / "members"
    result = offline(
        *("key", "create", "from-afar", "--algorithm", "ed25519", "--target", f"127.0.0.1:{desk.port}"),
        *("--enclave", "hot", "--ca", desk.dir / "ca" / "ca.crt", "--cert", certs / "admin-alice.crt"),
        *("--cert-key", certs / "admin-alice.key", "--key", members / "alice.key"),
        *("--approver-key", f"bob={members / 'bob.key'}", "--json"),
    )
    carried_out(result)


def test_who_signs_must_be_clear(offline: Run, desk: Deployment) -> None:
    """With several members in the folder and none named, nothing is asked; the message names them all."""
    result = offline("key", "create", "whose", "--algorithm", "p256", "--deployment", desk.dir)
    assert result.exit_code == 2
    assert "alice, bob, carol" in result.stderr
    assert "--member NAME" in result.stderr
