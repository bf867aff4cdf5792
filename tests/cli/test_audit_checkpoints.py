"""``keyvault audit checkpoints``: the nodes' cosignatures are gathered, and nodes that lie are found out."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from keyvault.core import limits
from keyvault.ledger.archive import open_archive
from keyvault.ledger.cosignature import cosignatures
from keyvault.ledger.merkle import EMPTY_ROOT
from keyvault.store.sqlite import open_store
from tests.cli.conftest import document_of
from tests.cli.scripted_nodes import Scripted, scripted_nodes
from tests.deployment import Deployment, new_deployment
from tests.ledger.cosigning import AT_S, Witness, signed, signed_root, spoiled
from tests.ledger.ledgers import Ledger, sample, secp256k1_key

Run = Callable[..., Result]


def _made() -> Ledger:
    ledger = Ledger()
    ledger.start()
    ledger.create_key("k1", secp256k1_key())
    for number in range(60):
        ledger.add(ledger.issued("k1"))
        if number % 25 == 0:
            ledger.sign_checkpoint()
    return ledger


GOOD = _made()
SMALL, SIZE = 20, 40
A, B = Witness("kv-1"), Witness("kv-2")
BOTH = ("--cosigner", A.key.vkey, "--cosigner", B.key.vkey)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Certificates to serve and to ask with; nothing of it is served."""
    return new_deployment(tmp_path_factory.mktemp("checkpoints") / "desk")


@pytest.fixture
def gather(offline: Run, desk: Deployment, tmp_path: Path) -> Run:
    """Run the command against these addresses, with the sample's log key pinned, into ``tmp_path/kept``."""
    pin = tmp_path / "sample.vkey"
    pin.write_text(GOOD.key.vkey)

    def invoke(target: str, *options: object) -> Result:
        where = ("--deployment", desk.dir, "--vkey-file", pin, "--target", target)
        return offline("audit", "checkpoints", tmp_path / "kept", *where, *(options or BOTH), "--json")

    return invoke


def _node(by: Witness, size: int, *newest: int) -> Scripted:
    return Scripted(
        vkey=by.key.vkey,
        cosigned=by.cosign(signed(GOOD, size)),
        newest=[(each, signed(GOOD, each)) for each in newest or (size,)],
    )


def test_cosignatures_of_one_size_become_one_note(desk: Deployment, gather: Run, tmp_path: Path) -> None:
    """One file, with both lines under one text; what enough vouch for is said."""
    with scripted_nodes(desk, GOOD, _node(A, SIZE), _node(B, SIZE)) as target:
        document = document_of(gather(target))
    assert (document["asked"], document["cosigned"]) == ("2 of 2", SIZE)
    assert [(each["problem"], each["cosigned_at_ms"]) for each in document["nodes"]] == [("", AT_S * 1000)] * 2
    (file,) = (tmp_path / "kept").iterdir()
    assert document["checkpoints"] == [{"file": str(file), "entries": SIZE, "cosigners": [A.key.vkey, B.key.vkey]}]
    assert set(cosignatures(file.read_bytes(), (A.key, B.key))) == {A.key, B.key}


def test_several_sizes_are_shown_to_be_one_history(desk: Deployment, gather: Run) -> None:
    """Two sizes, one of them behind: proofs are asked for until one tree covers both; two reach as far as one."""
    ahead = _node(B, SIZE, SIZE, SIZE + 1, SIZE + 1)
    with scripted_nodes(desk, GOOD, _node(A, SMALL), ahead) as target:
        document = document_of(gather(target))
    assert document["cosigned"] == SMALL
    assert [each["entries"] for each in document["checkpoints"]] == [SMALL, SIZE]
    assert ahead.asked == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_node(A, SIZE), Scripted(vkey=B.key.vkey, cosigned=B.cosign(signed_root(GOOD, SIZE, EMPTY_ROOT)))),
        (Scripted(vkey=A.key.vkey, cosigned=A.cosign(signed_root(GOOD, SMALL, EMPTY_ROOT))), _node(B, SIZE)),
    ],
    ids=["of one size", "of two sizes"],
)
def test_two_histories_end_it_and_are_kept(
    desk: Deployment, gather: Run, offline: Run, tmp_path: Path, first: Scripted, second: Scripted
) -> None:
    """A split view ends with 1, names both, and keeps both notes; no ledger is right beside them any more."""
    with scripted_nodes(desk, GOOD, first, second) as target:
        result = gather(target)
    assert result.exit_code == 1
    assert "TWO HISTORIES" in result.stderr
    kept = tmp_path / "kept"
    assert (kept / "history-1.checkpoint").read_bytes() == first.cosigned
    for address, name in zip(target.split(","), ("history-1", "history-2"), strict=True):
        assert f"{kept / name}.checkpoint (from {address})" in result.stderr
    audited = offline("audit", "verify", _ledger(tmp_path), "--log-vkey", GOOD.key.vkey, "--checkpoint", kept)
    assert audited.exit_code == 1
    assert "was signed over other entries" in audited.stdout


def test_a_node_that_proves_nothing_is_named(desk: Deployment, gather: Run) -> None:
    """Garbage in place of a proof is no consistency, however long it is."""
    liar = _node(B, SIZE)
    liar.hashes = (bytes(32),) * 5_000
    with scripted_nodes(desk, GOOD, _node(A, SMALL), liar) as target:
        result = gather(target)
    assert result.exit_code == 1
    assert "TWO HISTORIES" in result.stderr


def test_a_node_whose_checkpoint_never_stands_still_is_asked_so_often_only(desk: Deployment, gather: Run) -> None:
    """A new checkpoint at every question: it is given up, and said."""
    restless = _node(B, SIZE, *range(SIZE, SIZE + 20))
    with scripted_nodes(desk, GOOD, _node(A, SMALL), restless) as target:
        result = gather(target)
    assert result.exit_code == 1
    assert "ask once more" in result.stderr
    assert restless.asked == 10


@pytest.mark.parametrize(
    ("cosigned", "words"),
    [
        (b"", "has cosigned nothing yet"),
        (b"garbage", "shows nothing"),
        (B.cosign(signed(sample(2), SIZE)), "shows nothing"),
        (spoiled(B.cosign(signed(GOOD, SIZE)), A.key), "kv-1 on the note does not verify"),
        (B.cosign(signed(GOOD, SIZE)) + b"\xe2\x80\x94 x " + b"A" * 65_536 + b"\n", "longer than 65536 bytes"),
    ],
    ids=["nothing", "garbage", "another log", "a spoiled line", "too long"],
)
def test_a_node_that_lies_takes_nothing_from_the_others(
    desk: Deployment, gather: Run, cosigned: bytes, words: str
) -> None:
    """What it gave is not taken, and said; the other's word stays, and is not enough where two are required."""
    liar = Scripted(vkey=B.key.vkey, cosigned=cosigned)
    with scripted_nodes(desk, GOOD, liar, _node(A, SIZE)) as target:
        result = gather(target)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert words in document["nodes"][0]["problem"]
    assert [each["entries"] for each in document["checkpoints"]] == [SIZE]
    assert document["cosigned"] == 0


def test_a_key_that_was_not_given_counts_for_nothing(desk: Deployment, gather: Run, tmp_path: Path) -> None:
    """A server cannot bring its own cosigners along: the line is dropped, and the key is named as a stranger's."""
    with scripted_nodes(desk, GOOD, _node(A, SIZE), _node(B, SIZE)) as target:
        document = document_of(gather(target, "--cosigner", A.key.vkey))
    assert document["cosigned"] == SIZE
    assert f"cosigns as {B.key.vkey}" in document["nodes"][1]["problem"]
    (file,) = (tmp_path / "kept").iterdir()
    assert b"kv-2" not in file.read_bytes()


def test_any_time_that_a_cosigner_says_can_be_shown(desk: Deployment, gather: Run) -> None:
    """The largest that the format has: it is no time of ours, and no reason to fail."""
    node = Scripted(vkey=A.key.vkey, cosigned=A.cosign(signed(GOOD, SIZE), (1 << 63) - 1))
    with scripted_nodes(desk, GOOD, node) as target:
        document = document_of(gather(target, "--cosigner", A.key.vkey))
    assert document["nodes"][0]["cosigned_at_ms"] == 253_402_300_799_000


def test_a_node_that_is_away_is_said_to_be(desk: Deployment, gather: Run) -> None:
    """Nobody answers at one address: two are not enough of two, one is of one."""
    with scripted_nodes(desk, GOOD, _node(A, SIZE)) as target:
        document = document_of(gather(f"{target},127.0.0.1:1", *BOTH, "--cosigners-required", 1, "--timeout", 3))
    assert document["cosigned"] == SIZE
    assert document["nodes"][1]["problem"].startswith("no answer")


def test_what_is_asked_for_must_be_clear(offline: Run, desk: Deployment, tmp_path: Path) -> None:
    """No cosigners, named in two ways, a number of none, or a policy of another log: nothing is asked."""
    policy = tmp_path / "nodes.policy"
    policy.write_text(f"log {GOOD.key.vkey}\nwitness a {A.key.vkey}\nquorum a\n")
    for options, words in (
        ((), "say whose cosignatures count"),
        (("--cosigner", A.key.vkey, "--cosigner-policy", policy), "does not go with"),
        (("--cosigners-required", 1), "needs their keys"),
        (("--cosigner-policy", policy), "is not about the log key"),
    ):
        where = ("--deployment", desk.dir, "--target", "127.0.0.1:1")
        result = offline("audit", "checkpoints", tmp_path / "kept", *options, *where)
        assert result.exit_code == 2
        assert words in result.stderr
    assert not (tmp_path / "kept").exists()


def test_a_ledger_is_held_against_what_was_gathered(
    desk: Deployment, gather: Run, offline: Run, tmp_path: Path
) -> None:
    """An audit says how far two reach; an export under the newest of them has its lines, and needs no folder."""
    with scripted_nodes(desk, GOOD, _node(A, SIZE), _node(B, SIZE)) as target:
        assert gather(target).exit_code == 0
    ledger, kept = _ledger(tmp_path), tmp_path / "kept"
    pinned = ("--log-vkey", GOOD.key.vkey)
    document = document_of(offline("audit", "verify", ledger, *pinned, "--checkpoint", kept, *BOTH, "--json"))
    assert (document["cosigned"]["entries"], document["cosigned"]["asked"]) == (SIZE, "2 of 2")
    assert document["cosigned"]["entries_after_by_none"] == len(GOOD.entries) - SIZE
    without = offline("audit", "verify", ledger, *pinned, *BOTH)
    assert without.exit_code == 1
    assert "fewer than 2 of 2 cosigners vouch for any entry" in without.stdout
    exported = document_of(offline("audit", "export", ledger, tmp_path / "out", "--checkpoint", kept, "--json"))
    assert exported["entries"] == SIZE
    policy = tmp_path / "nodes.policy"
    policy.write_text(
        f"log {GOOD.key.vkey}\nwitness a {A.key.vkey}\nwitness b {B.key.vkey}\ngroup g all a b\nquorum g\n"
    )
    document = document_of(offline("audit", "verify", tmp_path / "out", "--cosigner-policy", policy, "--json"))
    assert (document["cosigned"]["entries"], document["log_vkey_expected"]) == (SIZE, GOOD.key.vkey)
    with closing(open_archive(tmp_path / "out")) as archive:
        assert archive.checkpoints[-1] == (SIZE, next(kept.iterdir()).read_bytes())


def test_a_folder_of_checkpoints_is_read_up_to_a_bound(
    offline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None in it, or too many, is said: an audit that was to hold a ledger against something does not do without."""
    monkeypatch.setattr(limits, "CHECKPOINTS_KEPT_MAX", 1)
    ledger, kept = _ledger(tmp_path), tmp_path / "kept"
    kept.mkdir()
    codes = []
    for name in ("first", "second", "third"):
        codes.append(offline("audit", "verify", ledger, "--log-vkey", GOOD.key.vkey, "--checkpoint", kept).exit_code)
        (kept / name).write_bytes(signed(GOOD, SIZE))
    assert codes == [2, 0, 2]


def test_an_export_does_not_mix_two_histories(offline: Run, tmp_path: Path) -> None:
    """A kept checkpoint that says otherwise than the ledger's own of that size ends the export."""
    size = GOOD.checkpoints[0][0]
    (tmp_path / "kept").write_bytes(A.cosign(signed_root(GOOD, size, EMPTY_ROOT)))
    result = offline("audit", "export", _ledger(tmp_path), tmp_path / "out", "--checkpoint", tmp_path / "kept")
    assert result.exit_code == 1
    assert f"the checkpoint of {size} entries that you kept is another" in result.stderr
    assert not (tmp_path / "out").exists()


def _ledger(folder: Path) -> Path:
    """Write the sample as a database file."""
    path = folder / "sample.db"
    with closing(open_store(path, create=True)) as store:
        GOOD.write(store)
    return path
