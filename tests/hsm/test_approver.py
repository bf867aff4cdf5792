"""An approver's key in a SoftHSM token of their own, used by processes of their own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyvault.hsm.config import package_root
from keyvault.hsm.create import CreatedToken
from tests.hsm.world import copy_of

APPROVER = Path(__file__).parent / "approver.py"
INSTALL = Path(__file__).parents[2] / "softhsm" / "install.sh"
MESSAGE = "DSSEv1 what a member approves"
KEYS = (
    ("approvals", "01", "P256", False, True),
    ("signature", "02", "P256", True, True),
    ("edwards", "03", "ED25519", False, True),
    ("chain", "04", "SECP256K1", False, True),
    ("half", "05", "P256", False, False),
    ("twin", "06", "P256", False, True),
    ("twin", "07", "P256", False, True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A token with KEYS in it."""

    created: CreatedToken

    @property
    def pin(self) -> str:
        """The right PIN."""
        return self.created.pin_file.read_text()

    def run(self, **words: object) -> subprocess.CompletedProcess[str]:
        """Run one process of an approver."""
        said = {"module": str(self.created.module), "token": self.created.label, **words}
        return subprocess.run(
            (sys.executable, str(APPROVER), json.dumps(said)),
            env={"SOFTHSM2_CONF": str(self.created.softhsm2_conf), "PYTHONPATH": package_root()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ask(
        self, *asks: tuple[str | None, str | None, list[str]], times: int = 1, **words: object
    ) -> list[dict[str, Any]]:
        """Return what came of each question to one process, which ends without a word."""
        done = self.run(asks=asks, times=times, message=MESSAGE, **words)
        assert (done.returncode, done.stderr) == (0, "")
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers


@pytest.fixture(scope="module")
def card(token_template: CreatedToken, tmp_path_factory: pytest.TempPathFactory) -> Card:
    """A token with KEYS; no test changes it."""
    made = Card(created=copy_of(token_template, tmp_path_factory.mktemp("card") / "token").created)
    done = made.run(fill=KEYS, pin=made.pin)
    assert done.returncode == 0, done.stderr
    return made


def assert_signed(answer: dict[str, Any], kind: type[object], times: int = 1) -> None:
    """Hold an answer to being signatures of MESSAGE under the public key that was shown without a PIN."""
    assert "error" not in answer, answer
    assert (answer["member"], answer["shown"]) == ("alice", answer["public_key"])
    key = load_der_public_key(bytes.fromhex(answer["public_key"]))
    assert isinstance(key, kind)
    assert len(answer["signatures"]) == times
    for signature in map(bytes.fromhex, answer["signatures"]):
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, MESSAGE.encode())
        else:
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(signature, MESSAGE.encode(), ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("label", "object_id", "kind"),
    [
        ("approvals", None, ec.EllipticCurvePublicKey),
        (None, "01", ec.EllipticCurvePublicKey),
        ("twin", "07", ec.EllipticCurvePublicKey),
        ("edwards", None, ed25519.Ed25519PublicKey),
        (None, "03", ed25519.Ed25519PublicKey),
    ],
)
def test_a_token_signs_for_a_member(card: Card, label: str | None, object_id: str | None, kind: type[object]) -> None:
    """A key found by label, id or both signs what standard libraries verify, after one PIN."""
    (answer,) = card.ask((label, object_id, [card.pin]), times=3)
    assert_signed(answer, kind, times=3)
    assert answer["asked"] == 1


def test_a_key_that_wants_the_pin_each_time_gets_it(card: Card) -> None:
    """A key with CKA_ALWAYS_AUTHENTICATE signs with a PIN for each signature; without the right one it does not."""
    (answer,) = card.ask(("signature", None, [card.pin] * 3), times=2)
    assert_signed(answer, ec.EllipticCurvePublicKey, times=2)
    assert answer["asked"] == 3
    (wrong,) = card.ask(("signature", None, [card.pin, "wrong", card.pin]), times=2)
    assert "PIN_INCORRECT" in wrong["error"]
    assert (wrong["asked"], "signatures" in wrong) == (2, False)


@pytest.mark.parametrize("label", ["approvals", "edwards"])
def test_a_wrong_signature_never_leaves(card: Card, label: str) -> None:
    """What a module gives for another message is found out before anybody gets it."""
    (answer,) = card.ask((label, None, [card.pin]), lying=True)
    assert "does not verify" in answer["error"]
    assert "signatures" not in answer


def test_two_members_of_one_token_log_in_once(card: Card) -> None:
    """In one process the login holds for every key of the token, so nobody is asked again."""
    first, second = card.ask(("approvals", None, [card.pin]), ("edwards", None, []))
    assert_signed(first, ec.EllipticCurvePublicKey)
    assert_signed(second, ed25519.Ed25519PublicKey)


@pytest.mark.parametrize("pin", ["wrong-pin-4711", "", "x" * 300])
def test_a_wrong_pin_is_tried_once(card: Card, pin: str) -> None:
    """A refused PIN is an error that says so, does not show the PIN, and is followed by no second attempt."""
    (answer,) = card.ask(("approvals", None, [pin, card.pin]))
    assert "refused the PIN (PIN_" in answer["error"]
    assert "tried once" in answer["error"]
    assert not pin or pin not in answer["error"]
    assert (answer["asked"], "public_key" in answer) == (1, False)


@pytest.mark.parametrize(
    ("label", "object_id", "says"),
    [
        ("absent", None, "0 fit, not one; say which with object= or id=. Keys on an elliptic curve there: "),
        ("approvals", "02", "0 fit"),
        ("twin", None, "2 fit"),
        (None, None, "'edwards' (id 03)"),
        ("chain", None, "neither an Ed25519 nor a P-256 key"),
    ],
)
def test_a_key_that_does_not_fit_is_said(card: Card, label: str | None, object_id: str | None, says: str) -> None:
    """Absent, ambiguous and unusable keys are errors that name the keys that there are; no PIN is asked for."""
    (answer,) = card.ask((label, object_id, [card.pin]))
    assert says in answer["error"]
    assert (answer["asked"], "public_key" in answer) == (0, False)


def test_a_key_without_its_public_half_is_said(card: Card) -> None:
    """Without a public half nobody could check a signature, so the key is not used."""
    (answer,) = card.ask(("half", None, [card.pin]))
    assert "0 fit" in answer["error"]  # nothing to be shown
    (used,) = card.ask(("half", None, [card.pin]), blind=True)
    assert "0 public halves with its id (05)" in used["error"]


def test_other_tokens_are_not_tried(card: Card) -> None:
    """A token that is not there is said, with the ones that are; no PIN goes to another one."""
    (answer,) = card.ask(("approvals", None, [card.pin]), token="bob")
    assert "0 tokens labelled 'bob', not one. It has: 'hot'" in answer["error"]
    assert answer["asked"] == 0


@pytest.mark.parametrize("module", ["/nonexistent/module.so", str(APPROVER)])
def test_what_is_no_module_is_said(card: Card, module: str) -> None:
    """A module that is not there, or is something else, is an error that names it."""
    (answer,) = card.ask(("approvals", None, [card.pin]), module=module)
    assert f"PKCS#11 module {module}: " in answer["error"]
    assert answer["asked"] == 0


def test_an_ssh_agent_is_installed_or_missed(tmp_path: Path) -> None:
    """install.sh has nothing to do where both are there; where ssh-agent alone cannot be installed it says so."""
    done = subprocess.run(("sh", str(INSTALL)), capture_output=True, text=True, check=True)
    assert "Installing" not in done.stdout
    module = tmp_path / "module.so"
    module.touch()
    environment = {"PATH": str(tmp_path), "KEYVAULT_SOFTHSM_MODULES": str(module)}
    done = subprocess.run(("/bin/sh", str(INSTALL)), capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"SoftHSM2 is installed: {module}\n"
    assert "sudo apt-get install -y --no-install-recommends openssh-client" in done.stderr
