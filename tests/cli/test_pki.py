"""The local authority: certificates that standard verifiers and real TLS accept, and nothing overwritten."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from keyvault.cli.approver_key import load_key_file
from keyvault.cli.pki import Credential, PkiError, create_authority, create_member_key, issue
from keyvault.core.errors import Malformed
from keyvault.secretfile import UnsafeFile


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Give the folder of an authority for firm.example."""
    create_authority(tmp_path / "ca", "firm.example")
    return tmp_path / "ca"


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below the folder with its contents."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def verifier_of(authority: Path) -> PolicyBuilder:
    """Return an RFC 5280 verifier that trusts this authority alone."""
    return PolicyBuilder().store(Store([certificate(authority / "ca.crt")]))


def test_server_certificate_verifies_under_every_name(authority: Path, tmp_path: Path) -> None:
    """A standard verifier accepts the server as localhost, on both loopback addresses and as each extra host."""
    server = issue(authority, "server", "main", tmp_path, hosts=["signer.firm.example", "10.0.0.7", "localhost"])
    leaf = certificate(server.certificate)
    assert server.principal == "spiffe://firm.example/server/main"
    for host in ("localhost", "signer.firm.example"):
        verifier_of(authority).build_server_verifier(x509.DNSName(host)).verify(leaf, [])
    for address in ("127.0.0.1", "::1", "10.0.0.7"):
        verifier_of(authority).build_server_verifier(x509.IPAddress(ip_address(address))).verify(leaf, [])
    with pytest.raises(VerificationError):
        verifier_of(authority).build_server_verifier(x509.DNSName("other.example")).verify(leaf, [])
    with pytest.raises(VerificationError):
        verifier_of(authority).build_client_verifier().verify(leaf, [])


def test_folders_of_a_new_certificate_are_its_owner_s(authority: Path, tmp_path: Path) -> None:
    """Folders that are not there are made, for nobody else to look into; those that are stay as they are."""
    tmp_path.chmod(0o755)
    made = issue(authority, "node", "kv-1", tmp_path / "kv-1" / "certs")
    assert made.certificate == tmp_path / "kv-1" / "certs" / "node-kv-1.crt"
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path, tmp_path / "kv-1", tmp_path / "kv-1" / "certs")]
    assert modes == [0o755, 0o700, 0o700]


@pytest.mark.parametrize("role", ["bot", "admin", "auditor"])
def test_client_certificate_names_the_principal_only(authority: Path, tmp_path: Path, role: str) -> None:
    """A caller's certificate is good for a client, for nothing else, and its only name is the principal."""
    credential = issue(authority, role, "mm-1", tmp_path)
    leaf = certificate(credential.certificate)
    verified = verifier_of(authority).build_client_verifier().verify(leaf, [])
    assert verified.subjects == [x509.UniformResourceIdentifier(f"spiffe://firm.example/{role}/mm-1")]
    assert credential.principal == f"spiffe://firm.example/{role}/mm-1"
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_node_is_both_sides(authority: Path, tmp_path: Path) -> None:
    """A node's certificate serves as server and as client."""
    leaf = certificate(issue(authority, "node", "a", tmp_path).certificate)
    verifier_of(authority).build_client_verifier().verify(leaf, [])
    verifier_of(authority).build_server_verifier(x509.DNSName("localhost")).verify(leaf, [])


def test_shape_of_certificates(authority: Path, tmp_path: Path) -> None:
    """Authority and leaf have the promised curve, life, usage, path length and distinct random serials."""
    root = certificate(authority / "ca.crt")
    leaf = certificate(issue(authority, "bot", "mm-1", tmp_path).certificate)
    now = datetime.now(UTC)
    for shown, days in ((root, 3_650), (leaf, 397)):
        assert isinstance(key := shown.public_key(), ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert shown.version is x509.Version.v3
        assert timedelta(minutes=4) < now - shown.not_valid_before_utc < timedelta(minutes=6)
        assert abs(shown.not_valid_after_utc - now - timedelta(days=days)) < timedelta(minutes=1)
        assert shown.serial_number.bit_length() > 96
    assert root.serial_number != leaf.serial_number
    basic = [shown.extensions.get_extension_for_class(x509.BasicConstraints) for shown in (root, leaf)]
    assert [(one.critical, one.value.ca, one.value.path_length) for one in basic] == [
        (True, True, 0),
        (True, False, None),
    ]
    usage = [shown.extensions.get_extension_for_class(x509.KeyUsage) for shown in (root, leaf)]
    assert [(one.critical, one.value.key_cert_sign, one.value.digital_signature) for one in usage] == [
        (True, True, False),
        (True, False, True),
    ]
    leaf.verify_directly_issued_by(root)


def test_keys_are_their_owners_alone(authority: Path, tmp_path: Path) -> None:
    """Every private key file has mode 0600 and the authority's folder 0700."""
    bot = issue(authority, "bot", "mm-1", tmp_path)
    for key in (authority / "ca.key", bot.private_key):
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert authority.stat().st_mode & 0o777 == 0o700


def test_nothing_is_overwritten(authority: Path, tmp_path: Path) -> None:
    """A second authority or certificate of the same name is refused and every file stays as it was."""
    issue(authority, "bot", "mm-1", tmp_path / "out")
    before = files(tmp_path)
    with pytest.raises(UnsafeFile, match="never overwritten"):
        create_authority(authority, "firm.example")
    with pytest.raises(UnsafeFile, match="never overwritten"):
        issue(authority, "bot", "mm-1", tmp_path / "out")
    assert files(tmp_path) == before


def test_half_a_pair_is_not_left(authority: Path, tmp_path: Path) -> None:
    """Where only the certificate is in the way, no key is left behind."""
    (tmp_path / "bot-mm-1.crt").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(UnsafeFile, match=r"bot-mm-1\.crt.*never overwritten"):
        issue(authority, "bot", "mm-1", tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("role", "name"), [("root", "x"), ("bot", "../x"), ("bot", "X"), ("bot", ""), ("bot", "a/b"), ("bot", "x" * 64)]
)
def test_bad_names_are_refused(authority: Path, tmp_path: Path, role: str, name: str) -> None:
    """A role or name that is no principal makes no file, wherever it would have pointed."""
    before = files(tmp_path)
    with pytest.raises(Malformed, match="principal"):
        issue(authority, role, name, tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("role", "days", "hosts", "says"),
    [
        ("bot", 0, (), "0 days is not possible; this authority gives 1 to 825"),
        ("bot", 826, (), "826 days is not possible"),
        ("bot", 1, ("a.example",), "host names are for node and server certificates, not for bot"),
        ("server", 1, ("UPPER.example",), "neither an IP address nor a lower-case DNS name"),
        ("server", 1, ("*.example",), "neither an IP address nor a lower-case DNS name"),
        ("server", 1, tuple(f"h{i}" for i in range(40)), "are too many"),
    ],
)
def test_impossible_wishes_are_refused(
    authority: Path, tmp_path: Path, role: str, days: int, hosts: tuple[str, ...], says: str
) -> None:
    """A life or host that a certificate must not have is refused with what is possible, and makes no file."""
    before = files(tmp_path)
    with pytest.raises(PkiError, match=says.replace("*", r"\*")):
        issue(authority, role, "x", tmp_path, days=days, hosts=hosts)
    assert files(tmp_path) == before


def test_authority_must_be_whole(tmp_path: Path) -> None:
    """No authority, another authority's key, or a key that others can read: nothing is issued."""
    with pytest.raises(PkiError, match="is not the certificate of an authority"):
        issue(tmp_path / "none", "bot", "x", tmp_path)
    for name in ("one", "two"):
        create_authority(tmp_path / name, "firm.example")
    (tmp_path / "one" / "ca.crt").write_bytes((tmp_path / "two" / "ca.crt").read_bytes())
    with pytest.raises(PkiError, match=r"ca\.key: is not the key of"):
        issue(tmp_path / "one", "bot", "x", tmp_path)
    (tmp_path / "two" / "ca.key").chmod(0o644)
    with pytest.raises(UnsafeFile, match="mode 0644"):
        issue(tmp_path / "two", "bot", "x", tmp_path)


def test_bad_trust_domain(tmp_path: Path) -> None:
    """A trust domain that no principal can have makes no authority."""
    with pytest.raises(Malformed):
        create_authority(tmp_path / "ca", "Firm Example")
    assert not (tmp_path / "ca").exists()


def context(purpose: ssl.Purpose, authority: Path, credential: Credential) -> ssl.SSLContext:
    made = ssl.create_default_context(purpose, cafile=str(authority / "ca.crt"))
    made.load_cert_chain(credential.certificate, credential.private_key)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def handshake(client: ssl.SSLObject, server: ssl.SSLObject, wires: tuple[ssl.MemoryBIO, ...]) -> None:
    """Carry bytes between both ends until both are done; raise what either end raises."""
    to_client, from_client, to_server, from_server = wires
    waiting = {client, server}
    while waiting:
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
            to_server.write(from_client.read())
            to_client.write(from_server.read())


def test_mutual_tls_with_both_ends(authority: Path, tmp_path: Path) -> None:
    """OpenSSL ends with these certificates complete a mutual TLS 1.3 handshake, and the server sees the principal."""
    server_side = context(ssl.Purpose.CLIENT_AUTH, authority, issue(authority, "server", "main", tmp_path))
    client_side = context(ssl.Purpose.SERVER_AUTH, authority, issue(authority, "bot", "mm-1", tmp_path))
    wires = tuple(ssl.MemoryBIO() for _ in range(4))
    client = client_side.wrap_bio(wires[0], wires[1], server_hostname="127.0.0.1")
    server = server_side.wrap_bio(wires[2], wires[3], server_side=True)
    handshake(client, server, wires)
    seen = server.getpeercert()
    assert client.version() == "TLSv1.3"
    assert seen is not None
    assert seen["subjectAltName"] == (("URI", "spiffe://firm.example/bot/mm-1"),)


def test_bot_cannot_pose_as_server(authority: Path, tmp_path: Path) -> None:
    """A bot's certificate is refused by a client that expects the server."""
    bot = issue(authority, "bot", "mm-1", tmp_path)
    server_side = context(ssl.Purpose.CLIENT_AUTH, authority, bot)
    client_side = context(ssl.Purpose.SERVER_AUTH, authority, bot)
    client_side.check_hostname = False
    wires = tuple(ssl.MemoryBIO() for _ in range(4))
    client = client_side.wrap_bio(wires[0], wires[1])
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        handshake(client, server_side.wrap_bio(wires[2], wires[3], server_side=True), wires)


def test_member_key_round_trip(tmp_path: Path) -> None:
    """The key that is made is the key that is loaded; its file is its owner's alone and is not made twice."""
    path = tmp_path / "alice.key"
    spki = create_member_key(path)
    key = load_key_file(path, None)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    assert (public, len(spki)) == (spki, 44)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnsafeFile, match="never overwritten"):
        create_member_key(path)
    assert load_key_file(path, None).public_key() == key.public_key()
