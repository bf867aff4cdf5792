import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from cryptography import x509

from keyvault import config
from keyvault.core.events import Genesis
from keyvault.ledger import archive, note
from keyvault.ledger.codec import decode
from tests.deployment import Deployment

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, offline: Run) -> tuple[Deployment, Result]:
    """A deployment of `keyvault init` with all its options, and what the command printed."""
    directory = tmp_path_factory.mktemp("init") / "new" / "desk"
    result = offline(
        *("init", directory, "--enclave", "cold", "--trust-domain", "desk.example", "--listen", "10.1.2.3:8443"),
        *("--member", "carol", "--host", "vault.desk.example", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    return Deployment(dir=directory), result


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_it_makes_what_serve_accepts(made: tuple[Deployment, Result]) -> None:
    """The configuration is read back with the values that were asked for, and the ledger holds the genesis."""
    deployment, _ = made
    loaded = config.load(deployment.config)
    assert (loaded.enclave.name, loaded.server.listen) == ("cold", "10.1.2.3:8443")
    assert loaded.server.trust_domain == "desk.example"
    opened = archive.open_archive(deployment.ledger)
    genesis = decode(next(opened.rows()).body)
    opened.close()
    assert isinstance(genesis, Genesis)
    assert (genesis.enclave, genesis.admin_threshold, genesis.policy.rules) == ("cold", 1, ())
    (member,) = genesis.members
    assert (str(member.name), set(member.roles)) == ("carol", {"admin"})


def test_secrets_are_their_owner_s_alone(made: tuple[Deployment, Result]) -> None:
    """Private keys, PINs, the ledger and the token's objects can be read by nobody else."""
    deployment, _ = made
    open_to_others = {
        str(path.relative_to(deployment.dir)) for path in _files(deployment.dir) if path.stat().st_mode & 0o077
    }
    assert {name for name in open_to_others if not name.endswith(".crt")} == {
        "keyvault.toml",
        "log.vkey",
        "token/softhsm2.conf",
    }
    for folder in ("", "ca", "certs", "members", "token"):
        assert stat.S_IMODE((deployment.dir / folder).stat().st_mode) == 0o700


def test_the_output_has_the_public_facts_and_no_secret(made: tuple[Deployment, Result]) -> None:
    """Every value of --json is public: no PIN and no private key is printed anywhere."""
    deployment, result = made
    document = json.loads(result.stdout)
    assert document["log_vkey"] == deployment.log_vkey
    assert note.parse_vkey(document["log_vkey"]).name.startswith("keyvault/cold/")
    assert document["principals"] == [
        "spiffe://desk.example/server/cold",
        "spiffe://desk.example/bot/demo",
        "spiffe://desk.example/admin/carol",
        "spiffe://desk.example/auditor/demo",
    ]
    secrets = [path.read_text().strip() for path in deployment.dir.rglob("*") if path.suffix in (".pin", ".key")]
    assert len(secrets) >= 8
    for secret in secrets:
        for line in secret.splitlines():
            if not line.startswith("-----"):
                assert line not in result.output


def test_the_server_s_certificate_names_where_it_is_reached(made: tuple[Deployment, Result]) -> None:
    """Clients find the listening address and the extra host in the certificate, beside localhost."""
    deployment, _ = made
    certificate = x509.load_pem_x509_certificate((deployment.dir / "certs" / "server-cold.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "vault.desk.example" in names.get_values_for_type(x509.DNSName)
    assert "10.1.2.3" in {str(each) for each in names.get_values_for_type(x509.IPAddress)}


def test_it_overwrites_nothing(offline: Run, tmp_path: Path) -> None:
    """A folder with anything in it is refused, and stays as it is."""
    (tmp_path / "note.txt").write_text("mine")
    result = offline("init", tmp_path)
    assert result.exit_code == 2
    assert "not an empty folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_a_file_in_the_way_is_refused(offline: Run, tmp_path: Path) -> None:
    """A file under the name of the folder is refused, and stays as it is."""
    (tmp_path / "desk").write_text("mine")
    result = offline("init", tmp_path / "desk")
    assert result.exit_code == 2
    assert (tmp_path / "desk").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--enclave", "Hot"), "enclave"),
        (("--trust-domain", "UPPER"), "principal"),
        (("--listen", "nowhere"), "--listen"),
        (("--member", "1"), "member"),
    ],
)
def test_what_is_visibly_wrong_is_refused_before_anything_is_made(
    offline: Run, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    """A bad name leaves no folder behind."""
    result = offline("init", tmp_path / "desk", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "desk").exists()


def test_a_failure_half_way_removes_what_was_made(offline: Run, tmp_path: Path) -> None:
    """If something fails after the first files were written, the folder that we made is gone again."""
    result = offline("init", tmp_path / "desk", "--host", "BAD HOST")
    assert result.exit_code == 2
    assert "BAD HOST" in result.stderr
    assert not (tmp_path / "desk").exists()


def test_a_failure_half_way_in_a_folder_of_the_user_says_what_is_left(offline: Run, tmp_path: Path) -> None:
    """A folder that was there before is not removed; what was made in it is named."""
    result = offline("init", tmp_path, "--host", "BAD HOST")
    assert result.exit_code == 2
    assert "Left in it: ca, keyvault.toml" in result.stderr


def test_a_second_certificate_is_issued_and_never_replaced(offline: Run, made: tuple[Deployment, Result]) -> None:
    """`cert issue` makes a pair for a new identity, and refuses to make it again."""
    deployment, _ = made
    first = offline("cert", "issue", "bot/mm-2", "--deployment", deployment.dir, "--days", "30", "--json")
    assert first.exit_code == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["principal"] == "spiffe://desk.example/bot/mm-2"
    key = Path(document["private_key"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    second = offline("cert", "issue", "bot/mm-2", "--deployment", deployment.dir)
    assert second.exit_code == 2
    assert "never overwritten" in second.stderr
    assert key.read_bytes() == before


@pytest.mark.parametrize(("identity", "says"), [("king/arthur", "is not spiffe://"), ("bot/../x", "is not spiffe://")])
def test_a_certificate_for_no_identity_is_refused(
    offline: Run, made: tuple[Deployment, Result], identity: str, says: str
) -> None:
    """Only the known roles and plain names get a certificate."""
    deployment, _ = made
    result = offline("cert", "issue", identity, "--deployment", deployment.dir)
    assert result.exit_code == 2
    assert says in result.stderr


def test_the_bot_that_init_made_stays_the_default(offline: Run, made: tuple[Deployment, Result]) -> None:
    """With a second bot's certificate in the folder a plain `sign` still knows who asks: it gets as far as calling."""
    folder = made[0].dir
    if not (folder / "certs" / "bot-second.crt").exists():
        assert offline("cert", "issue", "bot/second", "--deployment", folder).exit_code == 0
    nobody = ("--target", "127.0.0.1:1", "--timeout", "0.2")  # loopback, where nothing listens
    asked = offline("sign", "digest", "--key", "k", "0x" + "ab" * 32, "--deployment", folder, *nobody)
    assert asked.exit_code == 4
    assert "say which one" not in asked.output
