"""SSH agents: OpenSSH's own, with a socket of the test's own; and one that says whatever it is told to."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyvault.client.public_key import ssh_blob

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
STOP_S = 10
FAILURE = b"\x05"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealAgent:
    """A running ssh-agent. What it asks of people is answered by ``askpass``."""

    path: Path
    askpass: Path

    def add(self, key: Path, *options: str) -> None:
        """Give the agent the key in this file."""
        self._run("-q", *options, str(key))

    def lock(self, password: str) -> None:
        """Lock the agent until the end."""
        self._answer(f"echo {password}")
        self._run("-x")

    def deny(self) -> None:
        """Let whoever is asked for a confirmation say no."""
        self._answer("exit 1")

    def confirm(self) -> None:
        """Let whoever is asked for a confirmation say yes."""
        self._answer("exit 0")

    def _answer(self, line: str) -> None:
        self.askpass.write_text(f"#!/bin/sh\n{line}\n")
        self.askpass.chmod(0o700)

    def _run(self, *arguments: str) -> None:
        environment = _environment(self.askpass) | {"SSH_AUTH_SOCK": str(self.path)}
        subprocess.run(("ssh-add", *arguments), env=environment, check=True, capture_output=True, timeout=STOP_S)


@contextmanager
def real_agent(folder: Path) -> Iterator[RealAgent]:
    """Run ssh-agent with its socket in this folder; it is there as soon as the block begins, and gone after it."""
    path, askpass = folder / "agent", folder / "askpass"
    command = ("ssh-agent", "-D", "-a", str(path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment(askpass)) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"SSH_AUTH_SOCK=")  # said once it listens
            yield RealAgent(path=path, askpass=askpass)
        finally:
            process.terminate()
            process.wait(STOP_S)


def write_key(path: Path, key: PrivateKey) -> Path:
    """Write a private key, unencrypted, as OpenSSH writes them; return the path."""
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path


def spki(key: PrivateKey) -> bytes:
    """Return the public half as members have it."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def blob_of(key: PrivateKey) -> bytes:
    """Return the public half as agents have it."""
    return ssh_blob(spki(key))


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def string(data: bytes) -> bytes:
    """Return the protocol's string: its length and itself."""
    return number(len(data)) + data


def identities(*keys: tuple[bytes, bytes]) -> bytes:
    """Return the answer of an agent that has these keys: blob and comment."""
    return b"\x0c" + number(len(keys)) + b"".join(string(blob) + string(comment) for blob, comment in keys)


def signed(kind: bytes, body: bytes) -> bytes:
    """Return the answer of an agent that has signed."""
    return b"\x0e" + string(string(kind) + string(body))


class FakeAgent:
    """Answers one connection after another with these bytes, as they are; then hangs until the block ends.

    ``string`` makes an answer of a message. ``questions`` has what was asked. With ``drip`` the answers come byte by
    byte, as fast as they go, until the other side has enough.
    """

    def __init__(self, path: Path, *answers: bytes, drip: bool = False) -> None:
        self.path = path
        self.questions: list[bytes] = []
        self._answers = answers
        self._drip = drip
        self._over = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._listening.bind(str(self.path))
        self._listening.listen()
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(STOP_S)
        self._listening.close()

    def _serve(self) -> None:
        for answer in (*self._answers, None):
            try:
                connection, _ = self._listening.accept()
            except OSError:  # the test is over
                return
            with connection:
                self.questions.append(_question(connection))
                if answer is None:
                    self._over.wait(STOP_S)
                else:
                    self._say(connection, answer)

    def _say(self, connection: socket.socket, answer: bytes) -> None:
        size = 1 if self._drip else len(answer) or 1
        try:
            for begin in range(0, len(answer), size):
                connection.sendall(answer[begin : begin + size])
        except OSError:  # the other side has had enough
            return


def _question(connection: socket.socket) -> bytes:
    length = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
    return connection.recv(length, socket.MSG_WAITALL)


def _environment(askpass: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
