"""A member's key in an SSH agent: OpenSSH's own, and agents that lie, hang and babble."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyvault.client.public_key import ssh_fingerprint, verifies
from keyvault.client.ssh_agent import AgentKey, AgentProblem, SshAgent
from keyvault.client.statements import MemberSigner
from keyvault.core import limits
from keyvault.core.approvals import pre_authentication_encoding
from keyvault.core.errors import Malformed
from tests.client.agents import (
    FAILURE,
    FakeAgent,
    PrivateKey,
    blob_of,
    identities,
    number,
    real_agent,
    signed,
    spki,
    string,
    write_key,
)

SHORT_MS = 100
MESSAGE = pre_authentication_encoding("application/vnd.keyvault.statement+json", b'{"action":"key.create"}')
ED = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(0xC0FFEE << 232, ec.SECP256R1())  # OpenSSH refuses small ones
KEYS: dict[str, PrivateKey] = {"ed25519": ED, "p256": P256}
SECURITY_KEY = string(b"sk-ssh-ed25519@openssh.com") + string(b"\7" * 32) + string(b"ssh:")


def short(path: Path) -> SshAgent:
    """Return an agent that has little time."""
    return SshAgent(path=path, answer_ms=SHORT_MS, sign_ms=SHORT_MS)


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


@pytest.mark.parametrize("kind", KEYS)
def test_an_agent_signs_for_a_member(tmp_path: Path, kind: str) -> None:
    """OpenSSH's agent signs with its only key of a usable kind, and what comes is what DSSE carries."""
    with real_agent(tmp_path) as agent:
        agent.add(write_key(tmp_path / "key", KEYS[kind]))
        signer: MemberSigner = AgentKey("alice", agent=SshAgent(path=agent.path))
        assert (signer.member, signer.public_key) == ("alice", spki(KEYS[kind]))
        for message in (MESSAGE, b"", b"x" * 16_384):
            assert verifies(signer.public_key, signer.sign(message), message)


def test_the_agent_of_this_login_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without more, the agent is that of SSH_AUTH_SOCK; without that the error says how to get one."""
    with real_agent(tmp_path) as agent:
        agent.add(write_key(tmp_path / "key", ED))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.path))
        assert AgentKey("alice").public_key == spki(ED)
    with pytest.raises(AgentProblem, match=r"cannot be reached .*; does it still run"):
        AgentKey("alice")
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(AgentProblem, match="SSH_AUTH_SOCK is not set"):
        AgentKey("alice")


def test_one_of_many_keys_is_named(tmp_path: Path) -> None:
    """With several keys, one is named by fingerprint or comment; otherwise the error lists what there is."""
    with real_agent(tmp_path) as real:
        for name, key in KEYS.items():
            real.add(write_key(tmp_path / name, key))
        agent = SshAgent(path=real.path)
        prints = {name: ssh_fingerprint(blob_of(key)) for name, key in KEYS.items()}
        for name, key in KEYS.items():
            assert AgentKey("alice", prints[name], agent=agent).public_key == spki(key)
            assert AgentKey("alice", _comment(agent, prints[name]), agent=agent).public_key == spki(key)
        for wanted, says in (("", "has 2 keys of a kind"), ("SHA256:nope", "no key called 'SHA256:nope'")):
            with pytest.raises(AgentProblem, match=says) as caught:
                AgentKey("alice", wanted, agent=agent)
            assert all(each in str(caught.value) for each in prints.values())


def _comment(agent: SshAgent, fingerprint: str) -> str:
    return next(each.comment for each in agent.identities() if each.fingerprint == fingerprint)


def test_other_kinds_of_keys_are_passed_over(tmp_path: Path) -> None:
    """An RSA key beside the usable one does no harm; asked for by name it is refused with what would do."""
    key = tmp_path / "rsa"
    key.touch(mode=0o600)
    private = rsa.generate_private_key(65537, 2048)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with real_agent(tmp_path) as real:
        real.add(key)
        agent = SshAgent(path=real.path)
        with pytest.raises(AgentProblem, match="no key of a kind that members can have"):
            AgentKey("alice", agent=agent)
        with pytest.raises(Malformed, match="not ssh-ed25519 or ecdsa-sha2-nistp256"):
            AgentKey("alice", agent.identities()[0].fingerprint, agent=agent)
        real.add(write_key(tmp_path / "key", ED))
        assert AgentKey("alice", agent=agent).public_key == spki(ED)


def test_a_person_is_asked_before_each_use(tmp_path: Path) -> None:
    """A key that was added with -c signs when the person says yes; a no is an error, and is asked for once."""
    with real_agent(tmp_path) as agent:
        agent.confirm()
        agent.add(write_key(tmp_path / "key", ED), "-c")
        signer = AgentKey("alice", agent=SshAgent(path=agent.path))
        assert verifies(signer.public_key, signer.sign(MESSAGE), MESSAGE)
        agent.deny()
        with pytest.raises(AgentProblem, match="the confirmation was denied"):
            signer.sign(MESSAGE)


def test_a_locked_agent_is_said_to_be_locked(tmp_path: Path) -> None:
    """An agent that was locked meanwhile does not sign, and shows no keys; the error says how to unlock it."""
    with real_agent(tmp_path) as agent:
        agent.add(write_key(tmp_path / "key", ED))
        signer = AgentKey("alice", agent=SshAgent(path=agent.path))
        agent.lock("secret")
        with pytest.raises(AgentProblem, match="ssh-add -X"):
            signer.sign(MESSAGE)
        with pytest.raises(AgentProblem, match=r"has no keys: .* ssh-add -X"):
            AgentKey("alice", agent=SshAgent(path=agent.path))


def test_keys_of_security_keys_are_refused(tmp_path: Path) -> None:
    """A FIDO key is never chosen, and asked for by name it is refused with the reason."""
    answer = string(identities((SECURITY_KEY, b"yubikey")))
    with FakeAgent(tmp_path / "agent", answer, answer) as fake:
        with pytest.raises(AgentProblem, match="no key of a kind"):
            AgentKey("alice", agent=short(fake.path))
        with pytest.raises(Malformed, match="signs its own counter and flags"):
            AgentKey("alice", "yubikey", agent=short(fake.path))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(b"", "hung up", id="nothing"),
        pytest.param(b"\0\0", "hung up", id="half a length"),
        pytest.param(number(5), "hung up", id="a length only"),
        pytest.param(number(0), "an answer of 0 bytes", id="no type"),
        pytest.param(number(2**32 - 1), "an answer of 4294967295 bytes", id="huge"),
        pytest.param(number(limits.AGENT_MESSAGE_BYTES_MAX + 1), "an answer of 262145 bytes", id="a byte too long"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "an answer of 1213486160 bytes", id="another protocol"),
        pytest.param(string(FAILURE), "does not say which keys", id="failure"),
        pytest.param(string(b"\x06"), "answer of type 6", id="another type"),
        pytest.param(string(b"\x0c"), "a field of 4 bytes", id="no count"),
        pytest.param(string(b"\x0c" + number(2**32 - 1)), "4294967295 keys", id="a huge count"),
        pytest.param(string(b"\x0c" + number(2)), "a field of 4 bytes", id="fewer keys than said"),
        pytest.param(string(b"\x0c" + number(1) + number(2**31)), "a field of 2147483648", id="a huge field"),
        pytest.param(string(identities((b"", b"x"))), "a field of 4 bytes", id="an empty key"),
        pytest.param(string(identities() + b"x"), "1 bytes too many", id="bytes at the end"),
    ],
)
def test_babble_for_keys_is_an_error(tmp_path: Path, answer: bytes, says: str) -> None:
    """Whatever an agent says in place of its keys, the error says what was wrong, and it was asked once."""
    with FakeAgent(tmp_path / "agent", answer) as fake:
        with pytest.raises(AgentProblem, match=says):
            AgentKey("alice", agent=short(fake.path))
        assert fake.questions == [b"\x0b"]


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(string(b"ssh-ed25519") + string(b"x" * 31), id="short"),
        pytest.param(string(b"ssh-ed25519") + string(b"x" * 32) + b"x", id="bytes at the end"),
        pytest.param(
            string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(b"\4" + b"\1" * 64), id="off the curve"
        ),
        pytest.param(string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(b"\4" + b"\1" * 64), id="curve"),
    ],
)
def test_malformed_keys_are_refused(tmp_path: Path, blob: bytes) -> None:
    """A key that is none of the kind that it says is not used."""
    with (
        FakeAgent(tmp_path / "agent", string(identities((blob, b"x")))) as fake,
        pytest.raises(Malformed, match="is not a well-formed"),
    ):
        AgentKey("alice", agent=short(fake.path))


ED_KIND, P256_KIND = b"ssh-ed25519", b"ecdsa-sha2-nistp256"
RIGHT = ED.sign(MESSAGE)
R, S = decode_dss_signature(P256.sign(MESSAGE, ec.ECDSA(hashes.SHA256())))


@pytest.mark.parametrize(
    ("key", "answer", "says"),
    [
        pytest.param(ED, string(signed(ED_KIND, ED.sign(b"other"))), "does not verify", id="of another message"),
        pytest.param(ED, string(signed(ED_KIND, b"\0" * 64)), "does not verify", id="zeros"),
        pytest.param(ED, string(signed(ED_KIND, RIGHT[:63])), "63 bytes", id="short"),
        pytest.param(ED, string(signed(P256_KIND, RIGHT)), "of the kind", id="another kind"),
        pytest.param(ED, string(signed(ED_KIND, RIGHT) + b"x"), "1 bytes too many", id="bytes at the end"),
        pytest.param(ED, string(b"\x0e"), "a field of 4 bytes", id="no signature"),
        pytest.param(ED, string(identities()), "answer of type 12", id="another answer"),
        pytest.param(ED, string(FAILURE), "refused to sign", id="failure"),
        pytest.param(ED, number(2**31), "2147483648 bytes", id="huge"),
        pytest.param(P256, string(signed(P256_KIND, mpint(S) + mpint(R))), "does not verify", id="r and s swapped"),
        pytest.param(P256, string(signed(P256_KIND, mpint(0) + mpint(S))), "a number", id="r is zero"),
        pytest.param(P256, string(signed(P256_KIND, mpint(R) + string(b"\xff"))), "a number", id="s is negative"),
        pytest.param(P256, string(signed(P256_KIND, string(b"\0\1") + mpint(S))), "a number", id="a needless zero"),
        pytest.param(P256, string(signed(P256_KIND, mpint(2**300) + mpint(S))), "a number", id="r is too long"),
        pytest.param(P256, string(signed(P256_KIND, mpint(2**256 - 1) + mpint(S))), "not verify", id="r off the group"),
        pytest.param(P256, string(signed(P256_KIND, mpint(R))), "a field of 4 bytes", id="no s"),
        pytest.param(P256, string(signed(P256_KIND, mpint(R) + mpint(S) + b"x")), "too many", id="more than s"),
    ],
)
def test_wrong_signatures_never_leave(tmp_path: Path, key: PrivateKey, answer: bytes, says: str) -> None:
    """Whatever an agent says in place of a signature, none comes out, and it was asked once."""
    with FakeAgent(tmp_path / "agent", string(identities((blob_of(key), b"x"))), answer) as fake:
        signer = AgentKey("alice", agent=short(fake.path))
        with pytest.raises(AgentProblem, match=says):
            signer.sign(MESSAGE)
        assert [question[0] for question in fake.questions] == [11, 13]


@pytest.mark.parametrize(
    ("key", "answer"),
    [(ED, signed(ED_KIND, RIGHT)), (P256, signed(P256_KIND, mpint(R) + mpint(S)))],
    ids=["ed25519", "p256"],
)
def test_the_question_is_the_protocol_s(tmp_path: Path, key: PrivateKey, answer: bytes) -> None:
    """The request to sign is the key, the message and no flags; a right answer comes out as DSSE carries it."""
    with FakeAgent(tmp_path / "agent", string(identities((blob_of(key), b"x"))), string(answer)) as fake:
        signer = AgentKey("alice", agent=short(fake.path))
        assert verifies(spki(key), signer.sign(MESSAGE), MESSAGE)
        assert fake.questions == [b"\x0b", b"\x0d" + string(blob_of(key)) + string(MESSAGE) + number(0)]


def test_a_hung_agent_costs_its_deadline(tmp_path: Path) -> None:
    """An agent that takes the question and never answers is given up, when it is asked for keys and when it signs."""
    with (
        FakeAgent(tmp_path / "agent") as fake,
        pytest.raises(AgentProblem, match=r"did not answer within 0\.1 s"),
    ):
        AgentKey("alice", agent=short(fake.path))
    with FakeAgent(tmp_path / "other", string(identities((blob_of(ED), b"x")))) as fake:
        signer = AgentKey("alice", agent=SshAgent(path=fake.path, sign_ms=SHORT_MS))
        with pytest.raises(AgentProblem, match=r"did not answer within 0\.1 s"):
            signer.sign(MESSAGE)


def test_a_dripping_agent_costs_no_more(tmp_path: Path) -> None:
    """An agent that sends byte after byte, each in time, is given up at the deadline of the whole answer."""
    answer = number(limits.AGENT_MESSAGE_BYTES_MAX) + bytes(limits.AGENT_MESSAGE_BYTES_MAX)
    agent = SshAgent(path=tmp_path / "agent", answer_ms=10)
    with FakeAgent(agent.path, answer, drip=True), pytest.raises(AgentProblem, match=r"did not answer within 0\.01 s"):
        AgentKey("alice", agent=agent)


def test_a_comment_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    """What an agent calls its keys is shown without control characters, and cut; so are keys too many to read."""
    comment = b"\x1b[2J\x1b]0;pwned\x07" + "\u202e".encode() + b"\xff\n" + b"x" * 10_000
    keys = [(string(b"ssh-rsa") + number(0), comment)] * limits.AGENT_KEYS_MAX
    small = keys[: limits.AGENT_KEYS_TOLD_MAX + 5]
    with (
        FakeAgent(tmp_path / "agent", string(identities(*small))) as fake,
        pytest.raises(AgentProblem) as caught,
    ):
        AgentKey("alice", agent=short(fake.path))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + limits.AGENT_KEYS_TOLD_MAX + 1
    assert lines[-1] == "  and 5 more"
    assert all(line.isprintable() and line.isascii() and len(line) < 400 for line in lines)


@pytest.mark.parametrize("name", ["nothing", "file", "x" * 200])
def test_what_is_no_agent_is_said(tmp_path: Path, name: str) -> None:
    """A socket that is not there, a plain file and a path that no socket can have are errors that name the path."""
    (tmp_path / "file").touch()
    with pytest.raises(AgentProblem, match="cannot be reached") as caught:
        AgentKey("alice", agent=short(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def test_a_message_that_no_agent_takes_is_not_sent(tmp_path: Path) -> None:
    """A message above the protocol's bound is refused before anything is sent."""
    with FakeAgent(tmp_path / "agent", string(identities((blob_of(ED), b"x")))) as fake:
        signer = AgentKey("alice", agent=short(fake.path))
        with pytest.raises(AgentProblem, match="bytes at once"):
            signer.sign(bytes(limits.AGENT_MESSAGE_BYTES_MAX))
        assert fake.questions == [b"\x0b"]
