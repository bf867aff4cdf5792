"""keyvault.toml and secret files: what is read back, and every way in which a deployment is turned away."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.config import (
    ConfigError,
    Deployment,
    LogFormat,
    LogLevel,
    PairConfig,
    PeerConfig,
    load,
    render_default,
)
from keyvault.core.ids import Principal
from keyvault.core.keys import KeyTransport
from keyvault.secretfile import UnsafeFile, check_secret_file, read_secret_file, write_new_file, write_secret_file

DEPLOYMENT = Deployment(
    enclave="hot",
    trust_domain="firm.example",
    label="hot",
    certificate="tls/server.crt",
    private_key="tls/server.key",
    client_ca="ca/ca.crt",
    database="ledger.sqlite",
    pin_file="token/pin",
    softhsm_conf="token/softhsm2.conf",
)


def deployment_in(folder: Path, text: str | None = None) -> Path:
    """Write a deployment's secret files and its keyvault.toml."""
    for name in ("tls/server.key", "token/pin"):
        (folder / name).parent.mkdir()
        write_secret_file(folder / name, b"secret")
    path = folder / "keyvault.toml"
    path.write_text(render_default(DEPLOYMENT) if text is None else text)
    return path


def changed(old: str, new: str) -> str:
    """Return the default file with one change, which must apply."""
    text = render_default(DEPLOYMENT)
    assert text.count(old) == 1
    return text.replace(old, new)


def test_default_is_read_back(tmp_path: Path) -> None:
    """What `init` writes is what `serve` reads, with every path absolute and every default said in the file."""
    config = load(deployment_in(tmp_path))
    assert config.server.listen == "127.0.0.1:7443"
    assert config.server.certificate == tmp_path / "tls/server.crt"
    assert config.server.client_ca == tmp_path / "ca/ca.crt"
    assert config.server.trust_domain == "firm.example"
    assert (config.enclave.name, config.enclave.database) == ("hot", tmp_path / "ledger.sqlite")
    assert (config.token.module, config.token.label) == (None, "hot")
    assert (config.token.pin_file, config.token.softhsm_conf) == (
        tmp_path / "token/pin",
        tmp_path / "token/softhsm2.conf",
    )
    assert (config.token.workers, config.token.lanes_per_worker, config.token.deadline_ms) == (2, 1, 3_000)
    assert config.token.key_transport is KeyTransport.NONE
    assert (config.log.format, config.log.level) == (LogFormat.JSON, LogLevel.INFO)


def test_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path in the file means the same from every working directory, and an absolute one stays what it is."""
    text = changed('"ledger.sqlite"', '"/var/lib/keyvault/ledger.sqlite"')
    deployment_in(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    config = load(Path("keyvault.toml"))
    assert config.server.certificate == tmp_path / "tls/server.crt"
    assert config.enclave.database == Path("/var/lib/keyvault/ledger.sqlite")


def test_log_section_may_be_absent(tmp_path: Path) -> None:
    """Without [log] the server writes JSON at level info."""
    text = render_default(DEPLOYMENT).split("[log]", maxsplit=1)[0]
    config = load(deployment_in(tmp_path, text))
    assert (config.log.format, config.log.level) == (LogFormat.JSON, LogLevel.INFO)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("workers = 2", "workers = 2\nthreads = 9", 21, "token.threads is not known here; there are module, label, "),
        (
            "[log]",
            "[logs]",
            25,
            "'logs' is not known here; there are [enclave], [log], [notify], [pair], [peer], [postgres], [server]",
        ),
        ("[server]", "debug = 1\n[server]", 4, "'debug' is not known here"),
        ('name = "hot"', "", 0, "enclave.name is missing; add it"),
        ("[enclave]", "[[enclave]]", 0, "enclave must be a section: [enclave]"),
        ('name = "hot"', 'name = "Hot"', 12, "enclave.name 'Hot' must be 1 to 63 characters"),
        ('name = "hot"', "name = 7", 12, "enclave.name must be text in quotes"),
        ("127.0.0.1:7443", "127.0.0.1", 5, "server.listen must be host:port"),
        ("127.0.0.1:7443", "127.0.0.1:65536", 5, "server.listen must be host:port"),
        ("firm.example", "Firm_Example", 9, "server.trust_domain must be 1 to 128 characters"),
        ('label = "hot"', f'label = "{"é" * 17}"', 17, "token.label must be 1 to 32 bytes"),
        ("workers = 2", "workers = 1", 20, "token.workers must be a whole number from 2 to 16"),
        ("workers = 2", "workers = true", 20, "token.workers must be a whole number from 2 to 16"),
        ("deadline_ms = 3000", "deadline_ms = 3e3", 22, "token.deadline_ms must be a whole number from 100 to 30000"),
        (
            'transport = "none"',
            'transport = "KWP"',
            23,
            'token.key_transport must be one of "none", "kwp", ',
        ),
        ('"ledger.sqlite"', '""', 13, "enclave.database must be a path"),
        ('format = "json"', 'format = "xml"', 26, 'log.format must be one of "json", "console"'),
        ('level = "info"', 'level = ["info"]', 27, 'log.level must be one of "debug", '),
        ('level = "info"', "level = info", 0, "is not valid TOML: "),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    """Every mistake is an error that names the file, the line, the key and what would be right."""
    path = deployment_in(tmp_path, changed(old, new))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:{line}: {says}" if line else f"{path}: {says}")


POSTGRES = """
[postgres]
conninfo = "dbname=keyvault"
address = "kv-1.example:7443"
nodes = ["spiffe://firm.example/node/kv-2"]
"""


def test_other_nodes_are_named_and_where_they_are_called(tmp_path: Path) -> None:
    """Principals for what they may say, addresses to ask them; both may be left out."""
    text = f'{render_default(DEPLOYMENT)}{POSTGRES}peers = ["kv-2.example:7443", "[::1]:7443"]\n'
    found = load(deployment_in(tmp_path, text)).postgres
    assert found is not None
    assert (found.peers, sorted(found.nodes)) == (
        ("kv-2.example:7443", "[::1]:7443"),
        ["spiffe://firm.example/node/kv-2"],
    )
    (tmp_path / "keyvault.toml").write_text(render_default(DEPLOYMENT) + POSTGRES)
    alone = load(tmp_path / "keyvault.toml").postgres
    assert alone is not None
    assert alone.peers == ()


@pytest.mark.parametrize(
    ("peers", "says"),
    [
        ('"kv-2.example:7443"', "must be a list of at most 16 texts in quotes"),
        ("[7443]", "must be a list of at most 16 texts in quotes"),
        (str(["kv-2.example:7443"] * 17), "must be a list of at most 16 texts in quotes"),
        ('["kv-2.example"]', "must be the host:port"),
        ('["0.0.0.0:7443"]', "must be the host:port"),
    ],
)
def test_peers_that_nobody_could_ask_stop_the_start(tmp_path: Path, peers: str, says: str) -> None:
    """A mistake would silence the one node that knows better, so it is named."""
    path = deployment_in(tmp_path, f"{render_default(DEPLOYMENT)}{POSTGRES}peers = {peers}\n")
    with pytest.raises(ConfigError, match=rf"postgres\.peers {says}"):
        load(path)


PAIR = """
[pair]
address = "kv-1.example:7443"
log_vkey = "log.vkey"
[[peer]]
node = "spiffe://firm.example/node/kv-2"
address = "kv-2.example:7443"
"""


def test_a_pair_names_its_machines(tmp_path: Path) -> None:
    """Where this one is called, and each other one by certificate and address; who leads stands in the ledger."""
    found = load(deployment_in(tmp_path, f"{render_default(DEPLOYMENT)}{PAIR}")).pair
    assert found == PairConfig(
        address="kv-1.example:7443",
        log_vkey=tmp_path / "log.vkey",
        peers=(PeerConfig(node=Principal("spiffe://firm.example/node/kv-2"), address="kv-2.example:7443"),),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PAIR.replace("node/kv-2", "bot/kv-2"), r"peer\.node must be spiffe://<trust-domain>/node/<name>"),
        (PAIR.replace('address = "kv-2.example:7443"', ""), r"peer\.address is missing"),
        (PAIR.replace("kv-1.example:7443", "kv-1.example"), r"pair\.address must be the host:port"),
        (
            PAIR.replace('[pair]\naddress = "kv-1.example:7443"\nlog_vkey = "log.vkey"', ""),
            r"\[\[peer\]\] belongs to a \[pair\]",
        ),
        (PAIR + PAIR.partition("[[peer]]")[2].join(["[[peer]]"] * 3), r"2 is the most"),
        (f"{PAIR}{POSTGRES}", r"\[postgres\] and \[pair\] exclude each other"),
    ],
)
def test_mistakes_about_a_pair_stop_the_start(tmp_path: Path, text: str, says: str) -> None:
    """A machine that is called wrongly would confirm nothing, and nobody would be answered."""
    with pytest.raises(ConfigError, match=says):
        load(deployment_in(tmp_path, f"{render_default(DEPLOYMENT)}{text}"))


def test_missing_and_huge_files_are_refused(tmp_path: Path) -> None:
    """A file that is not there, or that cannot be a configuration, is an error and not a traceback."""
    with pytest.raises(ConfigError, match=r"No such file or directory.*keyvault init"):
        load(tmp_path / "keyvault.toml")
    with pytest.raises(ConfigError, match="is longer than 65536 bytes"):
        load(deployment_in(tmp_path, "#" * 65_537))


@pytest.mark.parametrize("name", ["tls/server.key", "token/pin"])
def test_readable_secret_stops_the_start(tmp_path: Path, name: str) -> None:
    """A server does not start with a private key or PIN that the group can read."""
    path = deployment_in(tmp_path)
    (tmp_path / name).chmod(0o640)
    with pytest.raises(UnsafeFile, match=f"{name}: mode 0640 .*chmod 600"):
        load(path)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@given(database=NAMES, pin=NAMES)
def test_any_path_survives_the_file(tmp_path_factory: pytest.TempPathFactory, database: str, pin: str) -> None:
    """Quotes, backslashes, control characters and other scripts in a path are read back as they were written."""
    folder = tmp_path_factory.mktemp("any")
    path = deployment_in(folder, render_default(replace(DEPLOYMENT, database=database, softhsm_conf=pin)))
    config = load(path)
    assert config.enclave.database == folder / database
    assert config.token.softhsm_conf == folder / pin


def test_secret_file_is_made_once_for_its_owner(tmp_path: Path) -> None:
    """A secret file has mode 0600 whatever the umask, is read back whole, and is never overwritten."""
    path = tmp_path / "pin"
    before = os.umask(0)
    try:
        write_secret_file(path, b"1234")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600
    check_secret_file(path)
    with pytest.raises(UnsafeFile, match="never overwritten"):
        write_secret_file(path, b"5678")
    assert read_secret_file(path) == b"1234"


def test_public_file_is_not_a_secret_file(tmp_path: Path) -> None:
    """A file written for everybody is refused where a secret is expected, by the check and by the read."""
    path = tmp_path / "ca.crt"
    write_new_file(path, b"certificate")
    assert path.stat().st_mode & 0o7777 == 0o644
    for use in (check_secret_file, read_secret_file):
        with pytest.raises(UnsafeFile, match="mode 0644"):
            use(path)


def test_only_regular_files_hold_secrets(tmp_path: Path) -> None:
    """A link, a folder, a pipe or nothing at all is refused, and reading a pipe does not hang."""
    write_secret_file(tmp_path / "real", b"1234")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "folder", "pipe", "nothing"):
        for use in (check_secret_file, read_secret_file):
            with pytest.raises(UnsafeFile, match=name):
                use(tmp_path / name)
    with pytest.raises(UnsafeFile, match="never overwritten"):
        write_secret_file(tmp_path / "link", b"5678")
    assert read_secret_file(tmp_path / "real") == b"1234"


def test_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    """A file that belongs to somebody else is refused, whatever its mode."""
    path = Path("/etc/passwd")  # root's, for everybody but root
    if os.geteuid() == 0:
        path = tmp_path / "pin"
        write_secret_file(path, b"1234")
        os.chown(path, 1, -1)
    with pytest.raises(UnsafeFile, match=r"belongs to user \d+, not to us"):
        check_secret_file(path)


def test_huge_secret_is_refused(tmp_path: Path) -> None:
    """A secret file has a bound."""
    write_secret_file(tmp_path / "pin", b"x" * 16_385)
    with pytest.raises(UnsafeFile, match="is longer than 16384 bytes"):
        read_secret_file(tmp_path / "pin")


def test_a_node_has_a_place_or_none(tmp_path: Path) -> None:
    """Where it runs is a short name; a node without one takes no part in spreading enclaves."""
    path = deployment_in(tmp_path)
    text = path.read_text() + POSTGRES
    for line, place in (("", ""), ('place = "rack-1"', "rack-1"), (f'place = "{"a" * 32}"', "a" * 32)):
        path.write_text(text + line)
        config = load(path)
        assert config.postgres is not None
        assert config.postgres.place == place


@pytest.mark.parametrize("place", ["Rack", "-rack", "rack-", "rack 1", "a" * 33, "räck", "rack\\n"])
def test_a_place_that_is_no_name_is_refused(tmp_path: Path, place: str) -> None:
    """What the database would not take is said before anything is served."""
    path = deployment_in(tmp_path)
    path.write_text(f'{path.read_text()}{POSTGRES}place = "{place}"')
    with pytest.raises(ConfigError, match=r"postgres\.place must be 1 to 32 characters"):
        load(path)


HOOK = """
[[notify]]
url = "https://hooks.example:8443/keyvault?desk=1"
secret_file = "hook.secret"
kinds = ["proposal.made", "freeze.set"]
"""


def test_hooks_are_read(tmp_path: Path) -> None:
    """Each [[notify]] is a webhook; there is none by default."""
    path = deployment_in(tmp_path)
    assert load(path).notify == ()
    write_secret_file(tmp_path / "hook.secret", b"whsec_x")
    path.write_text(path.read_text() + HOOK)
    (hook,) = load(path).notify
    assert (hook.url, hook.secret_file) == ("https://hooks.example:8443/keyvault?desk=1", tmp_path / "hook.secret")
    assert (hook.ca_file, hook.kinds) == (None, frozenset({"proposal.made", "freeze.set"}))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("https://hooks.example:8443/keyvault?desk=1", "http://hooks.example/", "url must be https://"),
        ("https://hooks.example:8443/keyvault?desk=1", "https://user:word@hooks.example/", "url must be https://"),
        ("https://hooks.example:8443/keyvault?desk=1", "https://hooks.example/#a", "url must be https://"),
        ("8443", "65536", "url must be https:// with a port from 1 to 65535"),
        ("8443", "0", "url must be https:// with a port from 1 to 65535"),
        ('["proposal.made", "freeze.set"]', '"proposal.made"', 'kinds must be a list of some of "proposal.made", '),
        ('["proposal.made", "freeze.set"]', '["proposal.mad"]', 'kinds must be a list of some of "proposal.made", '),
        ('["proposal.made", "freeze.set"]', "[]", 'kinds must be a list of some of "proposal.made", '),
        ('["proposal.made", "freeze.set"]', "[[1]]", 'kinds must be a list of some of "proposal.made", '),
        ('secret_file = "hook.secret"\n', "", "secret_file is missing"),
        ('secret_file = "hook.secret"\n', 'secret_file = "hook.secret"\nretries = 3\n', "retries is not known here"),
        ("[[notify]]", "[notify]", "notify must be tables"),
    ],
)
def test_a_bad_hook_stops_the_start(tmp_path: Path, old: str, new: str, says: str) -> None:
    """A webhook that cannot be used is said with its key, before anything is served."""
    path = deployment_in(tmp_path)
    write_secret_file(tmp_path / "hook.secret", b"whsec_x")
    assert old in HOOK
    path.write_text(path.read_text() + HOOK.replace(old, new))
    with pytest.raises(ConfigError, match=says):
        load(path)


@pytest.mark.parametrize(
    ("second", "line", "says"),
    [
        (HOOK.replace("https", "http"), 3, "notify.url must be https://"),
        (HOOK.replace("url =", "uri ="), 2, "notify.url is missing; add it"),
    ],
)
def test_the_line_is_that_of_the_wrong_hook(tmp_path: Path, second: str, line: int, says: str) -> None:
    """With several webhooks the line in the error is in the one with the mistake."""
    path = deployment_in(tmp_path)
    text = path.read_text() + HOOK
    path.write_text(text + second + HOOK)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:{text.count(chr(10)) + line}: {says}")


def test_a_readable_hook_secret_stops_the_start(tmp_path: Path) -> None:
    """The secret of a webhook is its owner's alone."""
    path = deployment_in(tmp_path)
    (tmp_path / "hook.secret").write_text("whsec_x")
    (tmp_path / "hook.secret").chmod(0o644)
    path.write_text(path.read_text() + HOOK)
    with pytest.raises(UnsafeFile, match="mode 0644"):
        load(path)
