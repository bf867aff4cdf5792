import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.deployment import (
    Deployment,
    ServerFailed,
    copy_of,
    new_deployment,
    run_keyvault,
    served,
    start_server,
    stop_server,
)
from tests.e2e.certificates import forge

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment to copy from; never served itself."""
    return new_deployment(tmp_path_factory.mktemp("serve") / "original")


@pytest.fixture
def own(original: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of the test's own, not served yet."""
    made = copy_of(original, tmp_path / "own")
    yield made
    if made.process is not None:
        stop_server(made, signal.SIGKILL)


def _events(deployment: Deployment) -> list[str]:
    return [json.loads(line)["event"] for line in deployment.log.read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(own: Deployment, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the server with 0; its log is JSON and says so; the port file is gone again."""
    start_server(own)
    assert (own.dir / "port").read_text() == f"{own.port}\n"
    assert stop_server(own, number) == 0
    events = _events(own)
    assert events[:2] == ["leading", "serving"]
    assert "drained" in events
    assert not (own.dir / "port").exists()


def test_a_killed_server_starts_again(own: Deployment) -> None:
    """After SIGKILL the same deployment is served again, in a later term."""
    start_server(own)
    assert stop_server(own, signal.SIGKILL) == -signal.SIGKILL
    start_server(own)
    assert stop_server(own) == 0
    epochs = [json.loads(line)["epoch"] for line in own.log.read_text().splitlines() if '"leading"' in line]
    assert len(epochs) == 2
    assert epochs[0] < epochs[1]


def test_no_secret_reaches_the_log_or_the_process_list(own: Deployment) -> None:
    """Neither PIN is in the log, nor in arguments or environment of the server and its workers."""
    pins = [(own.dir / "token" / name).read_text().strip() for name in ("user.pin", "so.pin")]
    with served(own):
        assert own.process is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(own.process.pid)], capture_output=True, text=True, check=True
        )
        pids = [str(own.process.pid), *listed.stdout.split()]
        seen = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for pid in pids for name in ("cmdline", "environ"))
    assert len(pids) >= 3
    for pin in pins:
        assert pin.encode() not in seen
        assert pin not in own.log.read_text()


def test_a_second_server_on_the_same_ledger_is_refused(own: Deployment) -> None:
    """Two servers never share a ledger: the second one says so and ends, the first one goes on."""
    with served(own):
        second = run_keyvault("serve", "--config", str(own.config))
        assert second.returncode == 1
        assert "another process has this ledger open" in second.stderr
        assert run_keyvault("key", "list", "--deployment", str(own.dir)).returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("[enclave]", "[enclaves]", 2, "the section [enclave] is missing"),
        ("workers = 2", "workers = 1", 2, "token.workers must be a whole number from 2"),
        ('database = "ledger.db"', 'database = "nothing.db"', 3, "there is no ledger at"),
        ('level = "info"', "level = info", 2, "is not valid TOML"),
        ('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:99999"', 2, "server.listen must be host:port"),
        ('key_transport = "none"', 'key_transport = "kwp"', 2, "do not move: it cannot be kwp"),
    ],
)
def test_a_wrong_configuration_is_said_in_words(own: Deployment, old: str, new: str, code: int, says: str) -> None:
    """What is wrong with keyvault.toml is named with the file, and nothing is served."""
    text = own.config.read_text()
    assert old in text
    own.config.write_text(text.replace(old, new))
    done = run_keyvault("serve", "--config", str(own.config))
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


_POSTGRES = '[postgres]\nconninfo = "host=127.0.0.1 port=9"\naddress = "127.0.0.1:7443"\n'
_PAIR = """[pair]
address = "127.0.0.1:7443"
log_vkey = "log.vkey"
[[peer]]
node = "spiffe://keyvault.local/node/b"
address = "127.0.0.1:7444"
"""


@pytest.mark.parametrize("section", [_POSTGRES, _PAIR])
def test_a_node_needs_a_certificate_that_other_nodes_take(own: Deployment, section: str) -> None:
    """With the certificate of `init`, or a node's that is not for calling, a node does not start, and says what to do.

    It would serve otherwise, with guards that are dead: no peer answers it, and nothing that it passes on is taken.
    """
    leaf = forge(own.dir / "ca", "spiffe://keyvault.local/node/a", server=True)
    (own.dir / "certs" / "node-a.crt").write_bytes(leaf.certificate)
    (own.dir / "certs" / "node-a.key").write_bytes(leaf.private_key)
    (own.dir / "certs" / "node-a.key").chmod(0o600)
    text = own.config.read_text()
    for name, says in (("server-hot", "is not of role node"), ("node-a", "is not for calling others")):
        own.config.write_text(f"{text.replace('server-hot.', f'{name}.')}\n{section}")
        done = run_keyvault("serve", "--config", str(own.config))
        assert done.returncode == 2
        assert says in done.stderr
        assert "keyvault cert issue node/NAME --host HOST" in done.stderr
        assert "following" not in done.stdout + done.stderr


def test_a_secret_that_others_can_read_stops_the_start(own: Deployment) -> None:
    """A PIN file that is open to others is refused with the command that mends it."""
    pin = own.dir / "token" / "user.pin"
    pin.chmod(0o644)
    done = run_keyvault("serve", "--config", str(own.config))
    assert done.returncode == 2
    assert f"chmod 600 {pin}" in done.stderr


def test_a_wrong_pin_stops_the_start_and_is_not_shown(own: Deployment) -> None:
    """The token's refusal of the PIN ends the start, without the PIN in the message."""
    (own.dir / "token" / "user.pin").write_text("0000-wrong-0000")
    with pytest.raises(ServerFailed) as failed:
        start_server(own)
    own.process = None
    assert "0000-wrong-0000" not in str(failed.value)
    assert "PIN" in str(failed.value)


def test_a_missing_configuration_names_the_file(offline: Run, tmp_path: Path) -> None:
    """A path that is not there is named, with the command that makes one."""
    done = offline("serve", "--config", tmp_path / "none.toml")
    assert done.exit_code == 2
    assert f"{tmp_path / 'none.toml'}: cannot be read" in done.stderr
    assert os.fspath(tmp_path) in done.stderr


def test_a_taken_port_is_said_in_words(own: Deployment) -> None:
    """Another listener on the port: exit 4, the address and what to do, no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        text = own.config.read_text()
        own.config.write_text(re.sub(r"^listen = .*$", f'listen = "{listen}"', text, flags=re.MULTILINE))
        done = run_keyvault("serve", "--config", str(own.config))
    assert done.returncode == 4
    assert f"cannot listen on {listen}" in done.stderr
    assert "Traceback" not in done.stderr
