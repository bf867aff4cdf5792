import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from keyvault.client import Credentials, EnclaveInfo, MemberKey, make_statement, say
from keyvault.core.approvals import Voice, verify_voice
from keyvault.core.errors import Malformed, Refused
from keyvault.core.statements import Action, decode_statement

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
ENCLAVE = EnclaveInfo(
    name="enclaves/hot",
    enclave_id=b"\xab" * 32,
    policy_version=3,
    log_vkey="",
    import_public_key=b"",
    ledger_size=5,
    epoch=1,
)
KEYS: dict[str, PrivateKey] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "p256": ec.generate_private_key(ec.SECP256R1()),
}


def member_file(folder: Path, key: PrivateKey, encryption: KeySerializationEncryption | None = None) -> Path:
    path = folder / "member.key"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return path


@pytest.mark.parametrize("kind", KEYS)
def test_a_voice_is_its_members(tmp_path: Path, kind: str) -> None:
    """What a key from a file says to a statement verifies as just that, and the statement is about here and now."""
    alice = MemberKey.from_file("alice", member_file(tmp_path, KEYS[kind]))
    said = make_statement(
        ENCLAVE, Action.KEY_DISABLE, {"version": "1", "key": "eth"}, requester="alice", expires_at=1_790_000_000_000
    )
    signature = say(said.encode(), Voice.APPROVE, alice)
    verify_voice(alice.public_key, Voice.APPROVE, said.encode(), signature)
    for other in set(Voice) - {Voice.APPROVE}:
        with pytest.raises(Refused):
            verify_voice(alice.public_key, other, said.encode(), signature)
    assert decode_statement(said.encode()) == said
    assert (said.enclave, said.enclave_id, said.policy_version) == ("hot", "ab" * 32, 3)
    assert said.summary() == "Disable version 1 of key eth in enclave hot: it signs nothing any more."


def test_two_statements_are_two_changes() -> None:
    """The same words said twice are two statements: each has 16 random bytes of its own."""
    said = [
        make_statement(ENCLAVE, Action.KEY_ENABLE, {"version": "1", "key": "eth"}, requester="alice", expires_at=1)
        for _ in range(2)
    ]
    assert said[0].nonce != said[1].nonce
    assert [len(bytes.fromhex(each.nonce)) for each in said] == [16, 16]


def test_missing_parameter() -> None:
    """A statement that could not be put into words is refused when it is made."""
    with pytest.raises(Malformed):
        make_statement(ENCLAVE, Action.KEY_ENABLE, {"key": "eth"}, requester="alice", expires_at=1)


def test_encrypted_key(tmp_path: Path) -> None:
    """A key under a passphrase opens with it, and with nothing else; the error does not quote the file."""
    path = member_file(tmp_path, KEYS["ed25519"], BestAvailableEncryption(b"open sesame"))
    assert MemberKey.from_file("alice", path, passphrase=b"open sesame").public_key
    for wrong in (None, b"wrong"):
        with pytest.raises(Malformed) as caught:
            MemberKey.from_file("alice", path, passphrase=wrong)
        assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_that_others_can_read(tmp_path: Path, mode: int) -> None:
    """A member's key that others could have read is not used."""
    path = member_file(tmp_path, KEYS["p256"])
    path.chmod(mode)
    with pytest.raises(Malformed, match="chmod 600"):
        MemberKey.from_file("alice", path)
    path.chmod(stat.S_IRUSR)
    MemberKey.from_file("alice", path)


def test_keys_that_are_none(tmp_path: Path) -> None:
    """Other curves, RSA, garbage and files that are too long are refused."""
    with pytest.raises(Malformed):
        MemberKey("alice", ec.generate_private_key(ec.SECP256K1()))
    path = member_file(tmp_path, rsa.generate_private_key(65537, 2048))
    for content in (path.read_bytes(), b"garbage", b"x" * 100_000):
        path.write_bytes(content)
        with pytest.raises(Malformed):
            MemberKey.from_file("alice", path)


def test_credentials_keep_their_key_to_themselves() -> None:
    """The private key of a connection does not show when its credentials are printed."""
    assert "very secret" not in repr(Credentials(ca=b"ca", certificate=b"crt", private_key=b"very secret"))
