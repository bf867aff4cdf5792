import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from keyvault.cli import pki
from tests.cli.conftest import SECRET
from tests.deployment import Deployment

Run = Callable[..., Result]

FIELDS = {
    "key",
    "version",
    "name",
    "algorithm",
    "state",
    "provenance",
    "public_key",
    "public_key_pem",
    "ethereum_address",
    "create_time_ms",
}


@pytest.mark.parametrize(
    ("algorithm", "public_key_chars"), [("secp256k1", 2 + 130), ("p256", 2 + 130), ("ed25519", 2 + 64)]
)
def test_a_key_is_created_and_shown(keyvault: Run, algorithm: str, public_key_chars: int) -> None:
    """`key create` generates in the token and prints the public part; `key show` prints the same."""
    created = keyvault("key", "create", f"new-{algorithm}", "--algorithm", algorithm, "--json")
    assert created.exit_code == 0, created.stderr
    document = json.loads(created.stdout)
    assert set(document) == FIELDS
    assert (document["algorithm"], document["state"]) == (algorithm.upper(), "ACTIVE")
    assert document["provenance"] == "GENERATED"
    assert len(document["public_key"]) == public_key_chars
    assert bool(document["ethereum_address"]) is (algorithm == "secp256k1")
    assert json.loads(keyvault("key", "show", f"new-{algorithm}", "--json").stdout) == document


def test_a_key_exists_once(keyvault: Run) -> None:
    """A second creation under the same name is refused by the state."""
    again = keyvault("key", "create", "desk", "--algorithm", "secp256k1")
    assert again.exit_code == 1
    assert again.stderr.endswith("Refused (STATE_MISMATCH): key desk exists already\n")


def test_a_key_is_disabled_and_enabled(keyvault: Run) -> None:
    """A disabled key signs nothing until it is enabled; doing either twice is refused."""
    assert keyvault("key", "create", "turned", "--algorithm", "secp256k1").exit_code == 0
    disabled = keyvault("key", "disable", "turned", "--json")
    assert json.loads(disabled.stdout)["state"] == "DISABLED"
    assert keyvault("key", "disable", "turned").exit_code == 1
    refused = keyvault("sign", "digest", "--key", "turned", "0x" + "11" * 32)
    assert refused.exit_code == 1
    assert "Refused (KEY_NOT_ACTIVE)" in refused.stderr
    enabled = keyvault("key", "enable", "turned")
    assert enabled.exit_code == 0
    assert "ACTIVE" in enabled.stdout


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
    imported = keyvault("key", "import", "venue-1", "--secret-file", file, "--json")
    assert imported.exit_code == 0, imported.stderr
    assert json.loads(imported.stdout)["provenance"] == "IMPORTED"
    for text in (unsafe.output, imported.output, desk.log.read_text()):
        assert SECRET not in text
    assert SECRET.encode() not in desk.ledger.read_bytes()


@pytest.mark.parametrize(
    ("stdin", "options", "says"),
    [("", (), "is empty"), ("xyz", ("--hex",), "is not hex"), ("a" * 20_000, (), "is longer than")],
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
    """An admin's certificate with the approval key of somebody else is refused."""
    assert offline("init", tmp_path / "other", "--listen", "127.0.0.1:0").exit_code == 0
    stranger = tmp_path / "other" / "members" / "admin.key"
    result = keyvault("key", "create", "stolen", "--algorithm", "p256", "--member-key", stranger)
    assert result.exit_code == 1
    assert "Refused (NOT_AUTHORIZED)" in result.stderr
    assert keyvault("key", "show", "stolen").exit_code == 3


def test_a_bot_may_not_list_keys(keyvault: Run) -> None:
    """The role in the certificate decides which door opens."""
    result = keyvault("key", "list", "--as", "bot/demo")
    assert result.exit_code == 1
    assert "needs role admin or auditor" in result.stderr


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
    """A machine that holds one identity only names server, authority, certificate, key, enclave and member key."""
    result = offline(
        *("key", "create", "from-afar", "--algorithm", "ed25519", "--target", f"127.0.0.1:{desk.port}"),
        *("--enclave", "hot", "--ca", desk.dir / "ca" / "ca.crt", "--cert", desk.dir / "certs" / "admin-admin.crt"),
        *("--cert-key", desk.dir / "certs" / "admin-admin.key"),
        *("--member-key", desk.dir / "members" / "admin.key"),
    )
    assert result.exit_code == 0, result.stderr
