"""A member's key in an SSH agent: draft-miller-ssh-agent (IETF: draft-ietf-sshm-ssh-agent), OpenSSH's PROTOCOL.agent.

Rules of the conversation:

- One connection, one question, one answer; nothing is remembered but which key was chosen.
- A message is a 32-bit length, a type, and fields. Lengths are checked before anything is read or believed, and every
  answer must be used up to its last byte.
- An answer has a deadline as a whole: an agent that sends one byte now and then is as silent as one that sends none.
- A signature is verified under the chosen key before anybody gets it: an agent cannot make us send garbage.
- Nothing is asked twice: a person may have said no.

What is signed is a DSSE pre-authentication encoding, ``DSSEv1 ...``. It is never a request to log in somewhere: those
begin with the length of a session id, and read as a length, ``DSSE`` is more than a gigabyte.

Who can reach the agent's socket can approve with its keys. Do not forward an agent that holds an approval key, and add
the key with ``ssh-add -c``, which asks before each use. Keys of security keys (``sk-...``) are not used: they sign a
counter and flags along with the message, so nobody could check the approval later.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from keyvault.client import public_key as forms
from keyvault.client.errors import ClientError
from keyvault.core import limits
from keyvault.core.ids import MemberName, parse_member_name

SOCKET_VARIABLE = "SSH_AUTH_SOCK"

_FAILURE = 5
_REQUEST_IDENTITIES = 11
_IDENTITIES_ANSWER = 12
_SIGN_REQUEST = 13
_SIGN_RESPONSE = 14
_NO_FLAGS = b"\0\0\0\0"
_LENGTH_BYTES = 4
_ED25519_BYTES = 64
_MPINT_BYTES_MAX = 33
"""A number of 256 bits, with a zero before it where its highest bit is set (RFC 4251, section 5)."""

T = TypeVar("T")


class AgentProblem(ClientError):
    """The agent is not there, has no such key, said no, or does not speak the protocol; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """A key that an agent says it has. ``kind`` and ``comment`` are the agent's words."""

    kind: str
    blob: bytes
    comment: str

    @property
    def fingerprint(self) -> str:
        """``SHA256:...``, as ``ssh-add -l`` shows it."""
        return forms.ssh_fingerprint(self.blob)

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo (DER); raises Malformed for a key that members cannot have."""
        return forms.from_ssh_blob(self.blob, self.kind, f"agent's key {self}")

    def __str__(self) -> str:
        return f"{self.fingerprint} ({forms.shown(self.kind)}, {forms.shown(self.comment)!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAgent:
    """An agent behind a socket, and how long it may take to answer and to sign (milliseconds)."""

    path: Path
    answer_ms: int = limits.AGENT_ANSWER_MS
    sign_ms: int = limits.AGENT_SIGN_MS

    @classmethod
    def from_environment(cls) -> "SshAgent":
        """Return the agent of this login; raise AgentProblem if there is none."""
        path = os.environ.get(SOCKET_VARIABLE, "")
        if not path:
            raise AgentProblem(f"no SSH agent: {SOCKET_VARIABLE} is not set; start one with: eval $(ssh-agent)")
        return cls(path=Path(path))

    def identities(self) -> tuple[AgentIdentity, ...]:
        """Return what keys the agent has, of every kind. Raises AgentProblem."""
        refusal = "does not say which keys it has"
        answer = _Answer(kind=_IDENTITIES_ANSWER, read=_read_identities, refusal=refusal, wait_ms=self.answer_ms)
        return self._ask(bytes((_REQUEST_IDENTITIES,)), answer)

    def find(self, wanted: str = "") -> AgentIdentity:
        """Return the one key with this fingerprint (``SHA256:...``) or comment, or the only one if nothing is wanted.

        Raises AgentProblem, which names the keys that there are, and Malformed for a key that members cannot have.
        """
        known = self.identities()
        if not known:
            raise self._problem("has no keys: add one with ssh-add FILE, or unlock it with ssh-add -X")
        found = [each for each in known if _fits(each, wanted)]
        what = f"called {forms.shown(wanted)!r}" if wanted else "of a kind that members can have"
        if not found:
            raise self._problem(f"has no key {what}. It has:\n{_told(known)}")
        if len(found) > 1:
            raise self._problem(
                f"has {len(found)} keys {what}; say which one, agent:SHA256:... It has:\n{_told(known)}"
            )
        _ = found[0].public_key  # refuses a kind of key that members cannot have
        return found[0]

    def sign(self, public_key: bytes, message: bytes) -> bytes:
        """Return a signature that verifies under this SubjectPublicKeyInfo (DER): Ed25519, or ECDSA as ASN.1 DER.

        Raises AgentProblem, also if the agent or the person before it says no.
        """
        blob = forms.ssh_blob(public_key)
        name = forms.ssh_fingerprint(blob)
        refusal = (
            f"refused to sign with {name}: the confirmation was denied, the agent is locked (ssh-add -X), or the key "
            "is gone or restricted. It was asked once"
        )
        read = _SIGNATURES[forms.kind_of(public_key)]
        answer = _Answer(kind=_SIGN_RESPONSE, read=read, refusal=refusal, wait_ms=self.sign_ms)
        request = bytes((_SIGN_REQUEST,)) + _string(blob) + _string(message) + _NO_FLAGS
        signature = self._ask(request, answer)
        if not forms.verifies(public_key, signature, message):
            raise self._problem(f"gave a signature that does not verify under {name}; it is thrown away")
        return signature

    def _ask(self, request: bytes, wanted: "_Answer[T]") -> T:
        """Return what the answer says. Raises AgentProblem for every other answer, and for none."""
        if len(request) > limits.AGENT_MESSAGE_BYTES_MAX:
            raise self._problem(f"takes {limits.AGENT_MESSAGE_BYTES_MAX} bytes at once, not {len(request)}")
        try:
            answer = _exchange(self.path, request, time.monotonic() + wanted.wait_ms / 1000)
            if answer[0] == _FAILURE:
                raise self._problem(wanted.refusal)
            return wanted.parse(answer)
        except _Nonsense as error:
            raise self._problem(f"does not speak the agent protocol: {error}") from None
        except TimeoutError:
            raise self._problem(f"did not answer within {wanted.wait_ms / 1000:g} s") from None
        except OSError as error:
            raise self._problem(f"cannot be reached ({error.strerror or error}); does it still run?") from None

    def _problem(self, what: str) -> AgentProblem:
        return AgentProblem(f"SSH agent {self.path} {what}")


class AgentKey:
    """A member's approval key in an SSH agent: a MemberSigner."""

    __slots__ = ("_agent", "_member", "_public_key")

    def __init__(self, member: str, wanted: str = "", *, agent: SshAgent | None = None) -> None:
        """Choose the key with this fingerprint (``SHA256:...``) or comment, or the agent's only one.

        Without ``agent``: that of SSH_AUTH_SOCK. Raises AgentProblem, or Malformed for a bad name or kind of key.
        """
        self._member = parse_member_name(member)
        self._agent = agent or SshAgent.from_environment()
        self._public_key = self._agent.find(wanted).public_key

    @property
    def member(self) -> MemberName:
        """Whose key it is."""
        return self._member

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo (DER)."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Return the signature as DSSE carries it; the agent may ask a person first. Raises AgentProblem."""
        return self._agent.sign(self._public_key, message)


def _fits(identity: AgentIdentity, wanted: str) -> bool:
    if wanted.startswith("SHA256:"):
        return identity.fingerprint == wanted
    if wanted:
        return identity.comment == wanted
    return identity.kind in forms.KINDS


def _told(identities: Iterable[AgentIdentity]) -> str:
    lines = [f"  {each}" for each in identities]
    more = len(lines) - limits.AGENT_KEYS_TOLD_MAX
    return "\n".join(lines[: limits.AGENT_KEYS_TOLD_MAX] + ([f"  and {more} more"] if more > 0 else []))


# Messages ---------------------------------------------------------------------------------------------------


class _Nonsense(Exception):
    """Not what the protocol allows; the text says what."""


class _Fields:
    """What is left of a message. Every reading raises _Nonsense where there is less than is said."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self) -> int:
        return int.from_bytes(self._take(_LENGTH_BYTES), "big")

    def string(self) -> bytes:
        return self._take(self.number())

    def text(self) -> str:
        return self.string().decode("utf-8", "backslashreplace")

    def positive(self) -> int:
        """Return an mpint that is above zero and as short as it can be (RFC 4251, section 5)."""
        data = self.string()
        value = int.from_bytes(data, "big", signed=True)
        if len(data) > _MPINT_BYTES_MAX or value <= 0 or len(data) != value.bit_length() // 8 + 1:
            raise _Nonsense("a number in a signature that is none")
        return value

    def end(self) -> None:
        if self._data:
            raise _Nonsense(f"{len(self._data)} bytes too many")

    def _take(self, count: int) -> bytes:
        if count > len(self._data):
            raise _Nonsense(f"a field of {count} bytes where {len(self._data)} are left")
        taken, self._data = self._data[:count], self._data[count:]
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer(Generic[T]):
    """The answer that a question may have, beside a failure: its type, its fields, and how long it may take."""

    kind: int
    read: Callable[[_Fields], T]
    refusal: str
    wait_ms: int

    def parse(self, data: bytes) -> T:
        """Return what the answer says, or raise _Nonsense."""
        if data[0] != self.kind:
            raise _Nonsense(f"an answer of type {data[0]} where {self.kind} is possible")
        fields = _Fields(data[1:])
        value = self.read(fields)
        fields.end()
        return value


def _read_identities(fields: _Fields) -> tuple[AgentIdentity, ...]:
    count = fields.number()
    if count > limits.AGENT_KEYS_MAX:
        raise _Nonsense(f"{count} keys, where {limits.AGENT_KEYS_MAX} are possible")
    return tuple(_read_identity(fields) for _ in range(count))


def _read_identity(fields: _Fields) -> AgentIdentity:
    blob = fields.string()
    return AgentIdentity(kind=_Fields(blob).text(), blob=blob, comment=fields.text())


def _read_ed25519(fields: _Fields) -> bytes:
    """Return the signature in an answer (RFC 8709, section 6)."""
    body = _signature_body(fields, forms.ED25519)
    if len(body) != _ED25519_BYTES:
        raise _Nonsense(f"a signature of {len(body)} bytes, not {_ED25519_BYTES}")
    return body


def _read_p256(fields: _Fields) -> bytes:
    """Return the signature in an answer (RFC 5656, section 3.1.2) as ASN.1 DER."""
    numbers = _Fields(_signature_body(fields, forms.P256))
    r, s = numbers.positive(), numbers.positive()
    numbers.end()
    return encode_dss_signature(r, s)


_SIGNATURES: Mapping[str, Callable[[_Fields], bytes]] = {forms.ED25519: _read_ed25519, forms.P256: _read_p256}


def _signature_body(fields: _Fields, kind: str) -> bytes:
    signature = _Fields(fields.string())
    said, body = signature.text(), signature.string()
    signature.end()
    if said != kind:
        raise _Nonsense(f"a signature of the kind {forms.shown(said)!r} by a key of the kind {kind}")
    return body


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


# Socket -----------------------------------------------------------------------------------------------------


def _exchange(path: Path, request: bytes, deadline: float) -> bytes:
    """Return the answer, at least its type. Raises OSError (TimeoutError at the deadline) or _Nonsense."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_left(deadline))
        connection.connect(str(path))
        connection.settimeout(_left(deadline))
        connection.sendall(_string(request))
        length = int.from_bytes(_receive(connection, _LENGTH_BYTES, deadline), "big")
        if not 0 < length <= limits.AGENT_MESSAGE_BYTES_MAX:
            raise _Nonsense(f"an answer of {length} bytes, where 1 to {limits.AGENT_MESSAGE_BYTES_MAX} are possible")
        return _receive(connection, length, deadline)


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < count:
        connection.settimeout(_left(deadline))
        part = connection.recv(count - len(data))
        if not part:
            raise _Nonsense("it hung up in the middle of an answer")
        data += part
    return bytes(data)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
