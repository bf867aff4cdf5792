"""``keyvault token`` on one machine: tokens are made and offered; the rest is in tests/ha/test_tokens.py."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from keyvault.core.events import Genesis
from keyvault.ledger import codec
from keyvault.ledger.archive import open_archive
from tests.deployment import Deployment, copy_of, new_deployment, served

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment whose keys move; never served."""
    return new_deployment(tmp_path_factory.mktemp("moves") / "desk", "--key-transport", "kwp")


def test_the_genesis_says_that_keys_move(moves: Deployment) -> None:
    """Configuration and ledger agree, and the exception for the log key stands in the ledger (I6)."""
    assert 'key_transport = "kwp"' in moves.config.read_text()
    archive = open_archive(moves.ledger)
    genesis = codec.decode(next(iter(archive.rows())).body)
    archive.close()
    assert isinstance(genesis, Genesis)
    assert genesis.sealed is not None
    assert genesis.sealed.log_key_plaintext


def test_a_token_is_offered_by_its_public_key(offline: Run, moves: Deployment, tmp_path: Path) -> None:
    """The same key each time, as PEM and as SHA-256; a file that is there is not overwritten."""
    first = json.loads(offline("token", "offer", "--config", moves.config, "--json").stdout)
    out = tmp_path / "key.pem"
    told = offline("token", "offer", "--config", moves.config, "--out", out)
    assert told.exit_code == 0
    assert load_pem_public_key(out.read_bytes()) == load_pem_public_key(first["transport_key_pem"].encode())
    assert first["transport_key_sha256"] in told.stdout.replace(" ", "")
    assert offline("token", "offer", "--config", moves.config, "--out", out).exit_code != 0


def test_an_empty_token_is_made_once(offline: Run, tmp_path: Path) -> None:
    """PIN files are their owner's alone, and nothing is overwritten."""
    made = offline("token", "create", tmp_path / "token", "--label", "hot", "--json")
    assert made.exit_code == 0
    told = json.loads(made.stdout)
    assert {stat.S_IMODE(Path(told[name]).stat().st_mode) for name in ("pin_file", "so_pin_file")} == {0o600}
    again = offline("token", "create", tmp_path / "token", "--label", "hot")
    assert again.exit_code != 0
    assert "nothing is overwritten" in again.stderr


def test_where_keys_stay_there_is_nothing_to_offer(offline: Run, tmp_path: Path) -> None:
    """The command says what the configuration would have to say."""
    stays = new_deployment(tmp_path / "stays")
    done = offline("token", "offer", "--config", stays.config)
    assert done.exit_code == 2
    assert 'must say key_transport = "kwp"' in done.stderr


def test_what_is_no_transport_key_is_not_proposed(offline: Run, moves: Deployment, tmp_path: Path) -> None:
    """An Ed25519 key of a member, and text, are refused before anybody is asked."""
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    for path in (text, moves.dir / "members" / "alice.key.pub"):
        asked = ("token", "join", "spiffe://keyvault.local/node/kv-2", "--transport-key", path, "--reason", "r")
        done = offline(*asked, "--deployment", moves.dir, "--member", "alice", "--target", "127.0.0.1:1")
        assert done.exit_code == 2, done.stderr
        assert "is no transport key" in done.stderr


def test_a_key_that_takes_the_others_lead_away_is_told_to_everybody(
    offline: Run, moves: Deployment, tmp_path: Path
) -> None:
    """Ed25519 in a token that cannot wrap it: who asks, who approves, and who makes it at once read what it costs.

    A key that moves, by its seed or wrapped, brings no warning; JSON has it, too.
    """
    asked, at_once = ("key", "create", "ed-1", "--algorithm", "ed25519"), ("--approve-with", "bob")
    with served(copy_of(moves, tmp_path / "desk")) as here:
        alice = ("--deployment", here.dir, "--member", "alice")
        proposed = offline(*asked, *alice)
        assert proposed.exit_code == 0, proposed.stderr
        assert "key ed-1 WILL STAY IN THE TOKEN THAT MAKES IT" in proposed.stderr
        assert "veto this, and ask with --plaintext-transport" in proposed.stderr
        name = proposed.stdout.split("keyvault approve ")[1].split()[0]
        approved = offline("approve", name, "--yes", "--deployment", here.dir, "--member", "carol")
        assert approved.exit_code == 0, approved.stderr
        assert "no node but that token's can lead" in approved.stderr
        rotated = offline("key", "rotate", "ed-1", *alice, *at_once)
        assert "key ed-1 version 2 CANNOT LEAVE THE TOKEN THAT MADE IT" in rotated.stderr
        assert "keyvault key disable ed-1" in rotated.stderr
        for key, options in (("ed-2", ("ed25519", "--plaintext-transport")), ("p-1", ("p256",))):
            moving = offline("key", "create", key, "--algorithm", *options, *alice)
            assert (moving.exit_code, moving.stderr) == (0, "")
        made = offline("key", "create", "ed-3", "--algorithm", "ed25519", *alice, *at_once, "--json")
        assert "key ed-3 version 1 CANNOT LEAVE" in json.loads(made.stdout)["warning"]


def test_where_keys_stay_nobody_is_warned(offline: Run, tmp_path: Path) -> None:
    """In an enclave of one token every key is in one token: that is no news."""
    with served(new_deployment(tmp_path / "stays")) as here:
        made = offline("key", "create", "ed-1", "--algorithm", "ed25519", "--deployment", here.dir, "--member", "alice")
        assert (made.exit_code, made.stderr) == (0, "")
