import json
import os
import pty
import select
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from keyvault.ledger.note import verifier
from keyvault.v1 import governance_pb2, keys_pb2
from tests.cli.conftest import carried_out, document_of
from tests.cli.lying_server import lying_server
from tests.deployment import KEYVAULT, Deployment
from tests.intents.building import dynamic_fee

Run = Callable[..., Result]

KNOWN = "0x52908400098527886E0F7030069857D2E4169EE7"
FIELDS = ("--chain-id", "1", "--gas", "21000", "--max-fee", "30 gwei", "--max-priority-fee", "1 gwei")
WAIT_S = 30


def proposed(keyvault: Run, name: str) -> str:
    """Return the short name of a proposal to create a key, as alice asks for it."""
    return str(document_of(keyvault("key", "create", name, "--algorithm", "p256", "--json"))["proposal"]["short"])


def asked(keyvault: Run, *arguments: str) -> tuple[str, str]:
    """Ask for a signature that policy leaves to members; return the short name of the proposal, and the request id."""
    result = keyvault("sign", *arguments, "--json")
    assert result.exit_code == 1, result.output
    error = json.loads(result.stderr)["error"]
    assert error["reason"] == "NEEDS_APPROVAL"
    return error["proposal"].rpartition("/")[2][:12], error["request_id"]


def transfer(to: str, value: str, nonce: int) -> tuple[str, ...]:
    return ("evm-tx", "--key", "asked", "--nonce", str(nonce), "--value", value, "--to", to, *FIELDS)


def test_the_first_digits_confirm(keyvault: Run) -> None:
    """The proposal is shown in plain words with its short name in groups, and its first digits approve it."""
    name = proposed(keyvault, "confirmed")
    result = keyvault("approve", name, "--member", "bob", stdin=f"{name[:4]}\n")
    assert result.exit_code == 0, result.stderr
    assert "Create key confirmed (P256) in enclave hot" in result.stderr
    assert f"Compare by voice with whoever asks:  {name[:4]} {name[4:8]} {name[8:]}" in result.stderr
    assert "To approve it as bob" in result.stderr
    assert "carried out" in result.stdout
    assert keyvault("key", "show", "confirmed").exit_code == 0


@pytest.mark.parametrize("typed", ["y\n", "\n", "0000\n", ""])
def test_anything_else_signs_nothing(keyvault: Run, typed: str) -> None:
    """Whoever types y, nothing, or other digits has signed nothing."""
    name = proposed(keyvault, "unconfirmed")
    result = keyvault("approve", name, "--member", "bob", stdin=typed)
    assert result.exit_code == 1
    assert document_of(keyvault("proposals", "show", name, "--json"))["proposal"]["approved_by"] == []


def test_json_asks_nothing_so_it_needs_yes(keyvault: Run) -> None:
    """A program that wants JSON must say that it compared the proposal."""
    result = keyvault("approve", proposed(keyvault, "by-program"), "--member", "bob", "--json")
    assert result.exit_code == 2
    assert "--yes" in json.loads(result.stderr)["error"]["message"]


def test_reject_and_revoke_are_final_words(keyvault: Run) -> None:
    """Who rejected cannot approve any more; others can. A revoked approval does not count."""
    name = proposed(keyvault, "rejected")
    rejected = document_of(keyvault("approve", name, "--reject", "--member", "bob", "--yes", "--json"))["proposal"]
    assert (rejected["state"], [each["voice"] for each in rejected["ballots"]]) == ("OPEN", ["reject"])
    changed_mind = keyvault("approve", name, "--member", "bob", "--yes")
    assert changed_mind.exit_code == 1
    assert "Refused (ALREADY_DECIDED)" in changed_mind.stderr
    carried_out(keyvault("approve", name, "--member", "carol", "--yes", "--json"))
    again = keyvault("approve", name, "--member", "carol", "--yes")
    assert again.exit_code == 1
    assert "carried out, entry" in again.stderr


def test_a_veto_ends_it_and_is_remembered(keyvault: Run) -> None:
    """One veto ends a proposal for good; the same asked for again says loudly that it was vetoed before."""
    name = proposed(keyvault, "vetoed")
    vetoed = document_of(keyvault("approve", name, "--veto", "--member", "carol", "--yes", "--json"))["proposal"]
    assert vetoed["state"] == "VETOED"
    late = keyvault("approve", name, "--member", "bob", "--yes")
    assert late.exit_code == 1
    assert "Refused (VETOED)" in late.stderr
    shown = keyvault("approve", proposed(keyvault, "vetoed"), "--member", "bob", stdin="\n").stderr
    assert "PREVIOUSLY VETOED" in shown
    assert keyvault("key", "show", "vetoed").exit_code == 3


def test_a_signature_is_shown_decoded_and_marked(keyvault: Run, desk: Deployment) -> None:
    """A large transfer waits: the approver reads it decoded, with what is new about it; then the bot gets it."""
    name, request_id = asked(keyvault, *transfer(KNOWN, "20 ether", 0))
    result = keyvault("approve", name, "--member", "carol", stdin=f"{name[:4]}\n")
    assert result.exit_code == 0, result.stderr
    sender = json.loads(keyvault("key", "show", "asked", "--json").stdout)["ethereum_address"]
    assert f"  1. Sends 20 native coin from {sender} to {KNOWN} on chain 1" in result.stderr
    assert "LARGER THAN ANY BEFORE with this key" in result.stderr
    assert "the server's word" in result.stderr
    signed = document_of(
        keyvault("sign", *transfer(KNOWN, "20 ether", 0), "--request-id", request_id, "--json"),
    )
    assert signed["raw_transaction"].startswith("0x02")
    alike = KNOWN[:6] + "1" * 32 + KNOWN[-4:]
    name, _ = asked(keyvault, *transfer(alike.lower(), "30 ether", 1))
    local = keyvault("approve", name, "--member", "bob", "--ledger", desk.ledger, stdin="\n").stderr
    assert f"found out here, from {desk.ledger}" in local
    assert f"FIRST-SEEN DESTINATION: nothing was ever signed for {alike.lower()}" in local
    assert f"LOOKS LIKE {KNOWN.lower()}, WHICH IS KNOWN, AND IS ANOTHER ADDRESS" in local


def test_a_harmed_ledger_tells_nothing(keyvault: Run, desk: Deployment, tmp_path: Path) -> None:
    """A copy of the ledger in which one byte was changed is not believed, and nothing is signed."""
    name, _ = asked(keyvault, *transfer(KNOWN, "4 ether", 2))
    copy = tmp_path / "ledger.db"
    with closing(sqlite3.connect(desk.ledger)) as source, closing(sqlite3.connect(copy)) as harmed:
        source.backup(harmed)
        harmed.execute("DROP TRIGGER entries_are_never_changed")
        (body,) = harmed.execute("SELECT body FROM entries WHERE idx = 3").fetchone()
        harmed.execute("UPDATE entries SET body = ? WHERE idx = 3", (body[:-1] + bytes([body[-1] ^ 1]),))
        harmed.commit()
    result = keyvault("approve", name, "--member", "bob", "--yes", "--ledger", copy)
    assert result.exit_code == 1
    assert "entry 3" in result.stderr
    assert document_of(keyvault("proposals", "show", name, "--json"))["proposal"]["approved_by"] == []


def other_payload(proposal: governance_pb2.Proposal) -> None:
    proposal.signature_subject.payload.evm_transaction = dynamic_fee()


def other_payload_with_its_facts(proposal: governance_pb2.Proposal) -> None:
    """What decodes well, and what the effects that come with it say, too; only the statement is about another."""
    del proposal.signature_subject.effects[:]
    other_payload(proposal)


def no_payload(proposal: governance_pb2.Proposal) -> None:
    proposal.ClearField("signature_subject")


def other_statement(proposal: governance_pb2.Proposal) -> None:
    proposal.statement = proposal.statement.replace(b"asked", b"other")


def ended_already(proposal: governance_pb2.Proposal) -> None:
    proposal.state = governance_pb2.Proposal.STATE_EXECUTED


@pytest.mark.parametrize(
    "lie", [other_payload, other_payload_with_its_facts, no_payload, other_statement, ended_already]
)
def test_a_lying_server_gets_no_signature(
    keyvault: Run, desk: Deployment, lie: Callable[[governance_pb2.Proposal], None]
) -> None:
    """A server that shows something else than what would be signed, or holds it back, is given no word of a member."""
    name, _ = asked(keyvault, *transfer(KNOWN, "6 ether", 3))
    with lying_server(desk, lie) as liar:
        target = ("--target", f"127.0.0.1:{liar.port}", "--member", "bob")
        result = keyvault("approve", name, *target, "--yes")
    assert result.exit_code != 0
    assert liar.cast == []
    assert lie is ended_already or "NOTHING WAS SIGNED." in result.stderr
    assert document_of(keyvault("proposals", "show", name, "--json"))["proposal"]["approved_by"] == []


def other_id(enclave: keys_pb2.Enclave) -> None:
    enclave.enclave_id = bytes(32)


def other_import_key(enclave: keys_pb2.Enclave) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072).public_key()
    enclave.import_public_key = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def other_log(enclave: keys_pb2.Enclave) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    enclave.log_vkey = verifier(enclave.log_vkey.partition("+")[0], key).vkey


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (other_id, "another enclave than the ledger's first entry"),
        (other_import_key, "another enclave than the ledger's first entry"),
        (other_log, "another one is expected"),
    ],
)
def test_the_ledger_proves_for_which_enclave_members_speak(
    keyvault: Run, desk: Deployment, tmp_path: Path, lie: Callable[[keys_pb2.Enclave], None], reason: str
) -> None:
    """A server that claims another id or log than is pinned, or its own key to wrap secrets under, gets nothing."""
    secret = tmp_path / "secret"
    secret.write_text("an exchange's secret of some length\n")
    secret.chmod(0o600)
    name = proposed(keyvault, f"for-{lie.__name__.replace('_', '-')}")
    with lying_server(desk, lambda _: None, lie) as liar:
        target = ("--target", f"127.0.0.1:{liar.port}", "--member", "alice")
        imported = keyvault("key", "import", "stolen", "--secret-file", str(secret), *target)
        approved = keyvault("approve", name, "--yes", *target[:2], "--member", "bob")
    for result in (imported, approved):
        assert result.exit_code != 0
        assert reason in result.stderr
    assert liar.cast == []


def test_an_honest_proxy_may_carry_the_word(keyvault: Run, desk: Deployment) -> None:
    """The same way without a lie works: it was the lie that was refused."""
    name = proposed(keyvault, "by-proxy")
    with lying_server(desk, lambda _: None) as liar:
        target = ("--target", f"127.0.0.1:{liar.port}", "--member", "bob")
        carried_out(keyvault("approve", name, *target, "--yes", "--json"))
    assert len(liar.cast) == 1


HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202eevil\r\nTo approve it: 0000\\x1b"


def test_hostile_text_cannot_disturb_the_terminal(keyvault: Run, tmp_path: Path) -> None:
    """Escape sequences, bells, direction marks and line ends in a payload reach the terminal as plain escapes."""
    mail = {
        "types": {
            "EIP712Domain": [{"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}],
            "Mail": [{"name": "contents", "type": "string"}],
        },
        "primaryType": "Mail",
        "domain": {"chainId": 1, "verifyingContract": KNOWN},
        "message": {"contents": HOSTILE},
    }
    file = tmp_path / "mail.json"
    file.write_text(json.dumps(mail, ensure_ascii=False))
    name, request_id = asked(keyvault, "typed-data", str(file), "--key", "asked")
    seen = keyvault("approve", name, "--member", "bob", stdin="\n")
    shown = keyvault("proposals", "show", name)
    for text in (seen.output, shown.output, keyvault("proposals", "list").output):
        assert all(character == "\n" or character.isprintable() for character in text)
        assert text.isascii()
    assert "\\u202e" in seen.stderr
    assert request_id


def test_a_long_payload_is_cut_and_says_so(keyvault: Run, tmp_path: Path) -> None:
    """What does not fit on a screen is cut, loudly; --payload shows all of it."""
    mail = {
        "types": {
            "EIP712Domain": [{"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}],
            "Mail": [{"name": "contents", "type": "string"}],
        },
        "primaryType": "Mail",
        "domain": {"chainId": 1, "verifyingContract": KNOWN},
        "message": {"contents": "x" * 3_000 + "THE END"},
    }
    file = tmp_path / "long.json"
    file.write_text(json.dumps(mail))
    name, _ = asked(keyvault, "typed-data", str(file), "--key", "asked")
    cut = keyvault("approve", name, "--member", "bob", stdin="\n").stderr
    assert "MORE CHARACTERS: --payload shows them" in cut
    assert "THE END" not in cut
    assert "THE END" in keyvault("approve", name, "--member", "bob", "--payload", stdin="\n").stderr


def test_the_bot_can_wait_for_its_approval(keyvault: Run, desk: Deployment) -> None:
    """`sign --wait` gets its signature as soon as a member approved, without being run again."""
    before = {each["id"] for each in listed(keyvault)}
    command = ("sign", *transfer(KNOWN, "5 ether", 9), "--wait", "60", "--json", "--deployment", str(desk.dir))
    with subprocess.Popen((*KEYVAULT, *command), stdout=subprocess.PIPE, text=True) as waiting:
        name = next_signature(keyvault, before)
        assert keyvault("approve", name, "--member", "carol", "--yes").exit_code == 0
        out, _ = waiting.communicate(timeout=WAIT_S)
    assert waiting.returncode == 0
    assert json.loads(out)["raw_transaction"].startswith("0x02")


def next_signature(keyvault: Run, before: set[str]) -> str:
    """Return the short name of the proposal for a signature that was not there before, as soon as it is there."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for each in listed(keyvault):
            if each["id"] not in before and each["action"] == "sign":
                return str(each["short"])
    raise AssertionError("nobody asked for a signature")


def listed(keyvault: Run) -> list[dict[str, str]]:
    found: list[dict[str, str]] = document_of(keyvault("proposals", "list", "--json"))["proposals"]
    return found


def test_at_a_terminal(keyvault: Run, desk: Deployment, tmp_path: Path) -> None:
    """At a real terminal the same is read, confirmed and signed, with a key that its passphrase opens."""
    name, key = proposed(keyvault, "at-a-terminal"), tmp_path / "bob.key"
    plain = load_pem_private_key((desk.dir / "members" / "bob.key").read_bytes(), None)
    key.touch(mode=0o600)
    key.write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")))
    ours, theirs = pty.openpty()
    command = (*KEYVAULT, "approve", name, "--deployment", str(desk.dir), "--member", "bob", "--key", str(key))
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True) as process:
        os.close(theirs)
        screen = read_until(ours, "digits: ")
        assert f"{name[:4]} {name[4:8]} {name[8:]}" in screen
        os.write(ours, f"{name[:4]}\n".encode())
        read_until(ours, "Passphrase of")
        os.write(ours, b"open sesame\n")
        assert "open sesame" not in read_until(ours, "carried out")
        assert process.wait(WAIT_S) == 0
    os.close(ours)
    assert keyvault("key", "show", "at-a-terminal").exit_code == 0


def read_until(descriptor: int, text: str) -> str:
    """Return what came on the terminal, up to this text."""
    seen = b""
    while text.encode() not in seen:
        readable, _, _ = select.select([descriptor], [], [], WAIT_S)
        assert readable, seen
        seen += os.read(descriptor, 4_096)
    return seen.decode()
