import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from cryptography import x509

from keyvault import config
from keyvault.cli.charter_file import format_charter, read_charter
from keyvault.core.charter import STRICT, Duty, Rulers
from keyvault.core.events import Genesis
from keyvault.core.ids import Principal
from keyvault.core.quorum import persons_min
from keyvault.ledger import archive, note
from keyvault.ledger.codec import decode
from tests.deployment import Deployment
from tests.worlds import charter, people

Run = Callable[..., Result]
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, offline: Run) -> tuple[Deployment, Result]:
    """A deployment of `keyvault init` with all its options, and what the command printed."""
    folder = tmp_path_factory.mktemp("init")
    directory, public_key = folder / "new" / "desk", folder / "carol.key.pub"
    assert offline("member", "keygen", "carol", "--out", folder / "carol.key", "--no-passphrase").exit_code == 0
    result = offline(
        *("init", directory, "--enclave", "cold", "--trust-domain", "desk.example", "--listen", "10.1.2.3:8443"),
        *("--member", "alice", "--member", "bob", "--member", f"carol={public_key}:approver", "--delay", "48h"),
        *("--member", "erin:auditor", "--host", "vault.desk.example", "--json"),
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
    assert (genesis.enclave, genesis.policy.rules) == ("cold", ())
    roles = {member.name: sorted(member.roles) for member in genesis.charter.members}
    assert roles == {"alice": ["admin"], "bob": ["admin"], "carol": ["approver"], "erin": ["auditor"]}


def test_the_first_charter_needs_two_persons_for_every_change(made: tuple[Deployment, Result]) -> None:
    """Every duty has a threshold; what does not only stop things needs somebody besides the asker, break-glass more."""
    charter = read_charter(made[0].dir / "charter.yaml")
    rulers = Rulers(charter)
    assert rulers.groups == {"admins": {"alice", "bob"}, "everybody": {"alice", "bob", "carol"}}
    assert set(rulers.thresholds) == set(Duty)
    for duty, threshold in rulers.thresholds.items():
        strict = duty is Duty.BREAK_GLASS or duty in STRICT
        assert persons_min(threshold.quorum) == (2 if strict else 1)
    delays = {duty: each.delay_ms // HOUR_MS for duty, each in rulers.thresholds.items() if each.delay_ms}
    assert delays == {Duty.POLICY_LOOSEN: 48, Duty.BREAK_GLASS: 72}
    assert {str(each) for member in charter.members for each in member.principals} == {
        "spiffe://desk.example/admin/alice",
        "spiffe://desk.example/admin/bob",
        "spiffe://desk.example/approver/carol",
        "spiffe://desk.example/auditor/erin",
    }


def test_keys_are_made_only_for_members_who_handed_in_none(made: tuple[Deployment, Result]) -> None:
    """Carol's private key stays where she made it; those made here are named, with what they are worth."""
    folder = made[0].dir / "members"
    assert sorted(path.name for path in folder.glob("*.key")) == ["alice.key", "bob.key", "erin.key"]
    document = json.loads(made[1].stdout)
    assert document["members"] == ["alice", "bob", "carol", "erin"]
    assert [Path(path).name for path in document["member_keys"]] == ["alice.key", "bob.key", "erin.key"]


def test_a_whole_charter_is_taken_as_it_is(offline: Run, tmp_path: Path) -> None:
    """`--charter FILE` is what the genesis holds; no key is made, and its members of this domain get certificates."""
    ann, ben = (replace(each.member, principals=frozenset({spiffe(each.name)})) for each in people("ann", "ben"))
    (tmp_path / "charter.yaml").write_text(format_charter(charter(members=(ann, ben))))
    result = offline("init", tmp_path / "desk", "--charter", tmp_path / "charter.yaml")
    assert result.exit_code == 0, result.stderr
    assert "FOR TRYING OUT ONLY" not in result.stdout
    assert read_charter(tmp_path / "desk" / "charter.yaml") == read_charter(tmp_path / "charter.yaml")
    assert not (tmp_path / "desk" / "members").exists()
    names = sorted(path.name for path in (tmp_path / "desk" / "certs").glob("*.crt"))
    assert names == ["admin-ann.crt", "admin-ben.crt", "auditor-demo.crt", "bot-demo.crt", "server-hot.crt"]


def spiffe(name: str) -> Principal:
    return Principal(f"spiffe://keyvault.local/admin/{name}")


def test_trying_out_is_said_loudly(offline: Run, tmp_path: Path) -> None:
    """Keys that were made in one folder are said to be for trying out, and how it is done in earnest."""
    result = offline("init", tmp_path / "desk")
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "FOR TRYING OUT ONLY: the approval keys of alice, bob, carol were made here" in text
    assert "keyvault member keygen" in text


def test_secrets_are_their_owner_s_alone(made: tuple[Deployment, Result]) -> None:
    """Private keys, PINs, the ledger and the token's objects can be read by nobody else."""
    deployment, _ = made
    open_to_others = {
        str(path.relative_to(deployment.dir)) for path in _files(deployment.dir) if path.stat().st_mode & 0o077
    }
    assert {name for name in open_to_others if not name.endswith((".crt", ".pub"))} == {
        "charter.yaml",
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
        "spiffe://desk.example/auditor/demo",
        "spiffe://desk.example/admin/alice",
        "spiffe://desk.example/admin/bob",
        "spiffe://desk.example/approver/carol",
        "spiffe://desk.example/auditor/erin",
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
        (("--member", "alice:king"), "there is admin, approver, auditor"),
        (("--member", "alice="), "a file of the public key belongs after ="),
        (("--member", "alice", "--member", "alice:approver"), "each member once"),
        (("--member", "alice", "--charter", "c.yaml"), "not both"),
        (("--delay", "soon"), "is not a length of time"),
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


@pytest.mark.parametrize(
    ("members", "says"),
    [(("alice",), "besides the admin who asks"), (("alice:approver", "bob:approver"), "admin who asks")],
)
def test_members_who_cannot_rule_are_refused(offline: Run, tmp_path: Path, members: tuple[str, ...], says: str) -> None:
    """One person, or nobody who may ask for changes, is no charter; nothing is left of the attempt."""
    options = [word for member in members for word in ("--member", member)]
    result = offline("init", tmp_path / "desk", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Name at least two with --member" in result.stderr
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
    assert "Left in it: ca, charter.yaml, keyvault.toml, members" in result.stderr


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
