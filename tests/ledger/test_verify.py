"""The auditor finds what was done to a ledger, and says where."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import SignatureIssued
from keyvault.core.keys import Signature
from keyvault.ledger import checkpoint
from keyvault.ledger.checkpoint import parse_checkpoint
from keyvault.ledger.merkle import leaf_hash
from keyvault.ledger.note import parse_note, verifier
from keyvault.ledger.report import Problem, Report
from keyvault.ledger.signatures import P256_ORDER, SECP256K1_ORDER
from keyvault.ledger.tally import Power
from keyvault.ledger.verify import Row, verify, verify_rows
from tests.ledger.ledgers import Ledger, sample

GOOD = sample()
SIZES = [size for size, _ in GOOD.checkpoints]


def _verify(entries: Iterable[bytes], checkpoints: Sequence[tuple[int, bytes]] = GOOD.checkpoints) -> Report:
    return verify(entries, checkpoints, expected_vkey=GOOD.key.vkey, expected_head=(GOOD.head.size, GOOD.head.root))


def _first(report: Report) -> Problem:
    assert not report.ok
    return report.problems[0]


def _segment(index: int) -> tuple[int, int]:
    """Return the entries, first and last, that only the checkpoint after ``index`` speaks for."""
    bounds = [0, *SIZES, GOOD.head.size]
    end = next(bound for bound in bounds if bound > index)
    return bounds[bounds.index(end) - 1], end - 1


def test_a_genuine_ledger_has_nothing_wrong() -> None:
    """Everything is counted and verified, and what no checkpoint covers is said."""
    report = _verify(GOOD.entries)
    assert report == Report(
        origin=GOOD.key.name,
        log_vkey=GOOD.key.vkey,
        entries=len(GOOD.entries),
        folded=len(GOOD.entries),
        root=GOOD.head.root,
        covered=len(GOOD.entries) - 2,
        cosigned=None,
        facts=(
            ("BallotCast", 12),
            ("CharterChanged", 2),
            ("FreezeChanged", 2),
            ("Genesis", 1),
            ("KeyCreated", 5),
            ("KeyStateChanged", 2),
            ("PolicyPublished", 1),
            ("ProposalMade", 12),
            ("SignatureEscalated", 1),
            ("SignatureIssued", 42),
            ("SignatureRefused", 5),
            ("TermStarted", 2),
        ),
        signatures_verified=32,
        unverifiable=10,
        payloads_decoded=False,
        refusals=5,
        power=Power(
            proposals=13,
            ballots=12,
            envelopes_verified=24,
            approved_signatures=1,
            charter_changes=2,
            break_glass_uses=1,
            break_glass=(len(GOOD.entries) - 3,),
            freezes=1,
            thaws=1,
        ),
        checkpoints_verified=len(SIZES),
        incarnations=(),
        problems=(),
        problems_left_out=0,
    )


def test_the_ledger_alone_is_enough() -> None:
    """Without anything that the auditor knows beforehand the ledger is consistent in itself."""
    assert verify(GOOD.entries, GOOD.checkpoints).ok


def test_answers_without_any_checkpoint_are_not_genuine() -> None:
    """Once anything was answered a checkpoint must stand; a genesis and terms that answered nothing need none."""
    assert "no checkpoint covers" in _first(verify(GOOD.entries, [])).sentence
    young = Ledger()
    young.start()
    young.start_term()
    assert verify(young.entries, []).ok


def test_a_kept_checkpoint_is_held_against_the_entries() -> None:
    """Any checkpoint ever signed agrees; over a cut or another history, from another log, or garbled, it is named."""
    for _, note in GOOD.checkpoints:
        assert verify(GOOD.entries, GOOD.checkpoints, kept=[note]).ok
    newest, other = GOOD.checkpoints[-1][1], sample(2)
    cut = verify(GOOD.entries[: SIZES[-2]], GOOD.checkpoints[:-1], kept=[newest])
    wrong = (
        (cut, "its end was cut"),
        (verify(GOOD.entries, GOOD.checkpoints, kept=[other.checkpoints[-1][1]]), "is not what the log key"),
        (verify(GOOD.entries, GOOD.checkpoints, kept=[b"garbage"]), "is not one"),
        (verify(GOOD.entries, GOOD.checkpoints, kept=[_forked(SIZES[-1])]), "signed over other entries"),
    )
    for report, words in wrong:
        assert len(report.problems) == 1
        assert _first(report).sentence.startswith("the checkpoint that you kept")
        assert words in _first(report).sentence


def _forked(size: int) -> bytes:
    """Return a note that the log key signed over a history that is not this one."""
    text = checkpoint.signing_text(GOOD.key.name, size, bytes(32))
    return checkpoint.assemble(text, GOOD.key, GOOD.log_key.sign(text))


@given(st.integers(1, len(GOOD.entries) - 1), st.data())
def test_one_flipped_bit_is_found(index: int, data: st.DataObject) -> None:
    """One bit of one entry: the first problem names the entry, or the entries between the two checkpoints around it."""
    body = bytearray(GOOD.entries[index])
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    report = _verify([*GOOD.entries[:index], bytes(body), *GOOD.entries[index + 1 :]])
    problem = _first(report)
    first, last = _segment(index)
    assert problem.index is not None
    if problem.last is None:
        assert index <= problem.index, "nothing before the change is blamed"
        assert str(problem.index) in problem.sentence
    else:
        assert (problem.index, problem.last) == (first, last)
    assert report.covered <= first
    assert any((each.index, each.last) == (first, last) for each in report.problems)


@given(st.data())
def test_a_changed_genesis_is_named(data: st.DataObject) -> None:
    """One bit of entry 0: the first problem is about entry 0, with and without the auditor's own log key."""
    body = bytearray(GOOD.entries[0])
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    entries = [bytes(body), *GOOD.entries[1:]]
    assert _first(_verify(entries)).index == 0
    assert _first(verify(entries, GOOD.checkpoints)).index == 0


@pytest.mark.parametrize("index", [1, 3, 6, 20, SIZES[2] - 1, SIZES[2], len(GOOD.entries) - 1])
def test_a_removed_entry_is_found(index: int) -> None:
    """Whichever entry is taken out and the rest moved up, nothing from that place on is taken for genuine."""
    report = _verify([*GOOD.entries[:index], *GOOD.entries[index + 1 :]])
    first, last = _segment(index)
    assert report.covered <= first
    assert index <= last
    problem = _first(report)
    assert problem.index is not None
    assert first <= problem.index <= len(GOOD.entries)


def test_two_swapped_refusals_are_named_by_range() -> None:
    """Two neighbours that would fold either way round: the range between the checkpoints around them is named."""
    ledger = Ledger()
    ledger.start()
    ledger.sign_checkpoint()
    for _ in range(6):
        ledger.add(ledger.refused())
    ledger.sign_checkpoint()
    ledger.add(ledger.refused())
    ledger.sign_checkpoint()
    swapped = [*ledger.entries]
    swapped[4], swapped[5] = swapped[5], swapped[4]
    report = verify(swapped, ledger.checkpoints)
    assert report.problems == (
        Problem(
            index=2,
            last=7,
            sentence="entries 2..7 were changed, removed, added or reordered: the root that checkpoint 8 signs differs"
            " from theirs",
        ),
        Problem(index=None, sentence="1 later checkpoints could not be compared: the entries differ before"),
    )
    assert report.covered == 2


def test_an_inserted_copy_is_named() -> None:
    """An entry that stands twice is named where it stands the second time."""
    report = _verify([*GOOD.entries[:22], GOOD.entries[20], *GOOD.entries[22:]])
    assert _first(report).index == 22
    assert "earlier entry" in _first(report).sentence


def test_a_cut_tail_is_named() -> None:
    """Entries that are missing below a checkpoint are named; above the newest only the head can tell."""
    end = SIZES[-1] - 3
    problem = _first(_verify(GOOD.entries[:end]))
    assert (problem.index, problem.last) == (end, SIZES[-1] - 1)
    assert "missing at the end" in problem.sentence
    problem = _first(_verify(GOOD.entries[:-1]))
    assert problem.index == len(GOOD.entries) - 1
    assert "its head says" in problem.sentence


def test_an_empty_ledger_is_not_genuine() -> None:
    """No entries at all is a problem, checkpoints or not."""
    assert "genesis" in _first(verify([], [])).sentence
    assert not verify([], GOOD.checkpoints).ok


@given(st.integers(0, len(SIZES) - 1), st.data())
def test_a_changed_checkpoint_is_named(number: int, data: st.DataObject) -> None:
    """One bit of one checkpoint: that checkpoint is named, and the entries are not blamed."""
    size, note = GOOD.checkpoints[number]
    changed = bytearray(note)
    changed[data.draw(st.integers(0, len(note) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    checkpoints = [*GOOD.checkpoints[:number], (size, bytes(changed)), *GOOD.checkpoints[number + 1 :]]
    report = _verify(GOOD.entries, checkpoints)
    assert [problem.index for problem in report.problems] == [None]
    assert f"checkpoint {size} " in _first(report).sentence
    assert report.checkpoints_verified == len(SIZES) - 1


def test_a_checkpoint_filed_under_another_size_is_named() -> None:
    """A note stands for the size that it signs, each size once, in order."""
    (small, note), (large, other) = GOOD.checkpoints[0], GOOD.checkpoints[1]
    assert (
        f"checkpoint {large} is the checkpoint of size {small}"
        in _first(_verify(GOOD.entries, [(large, note)])).sentence
    )
    twice = [(small, note), (small, note), (large, other)]
    assert f"checkpoint {small} stands after" in _first(_verify(GOOD.entries, twice)).sentence


def test_another_log_key_is_named() -> None:
    """The log key that the auditor knows must be the one in entry 0."""
    other = verifier(GOOD.key.name, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    report = verify(GOOD.entries, GOOD.checkpoints, expected_vkey=other.vkey)
    assert _first(report).index == 0
    assert other.vkey in _first(report).sentence
    assert report.checkpoints_verified == 0
    with pytest.raises(Malformed):
        verify(GOOD.entries, GOOD.checkpoints, expected_vkey="nonsense")
    with pytest.raises(Malformed):
        verify(GOOD.entries, GOOD.checkpoints, expected_vkey="")


def test_a_rewritten_history_needs_the_log_key() -> None:
    """Whoever rewrites the ledger and signs new checkpoints with a key of their own is found by the known key."""
    forged = sample(8)
    report = verify(forged.entries, forged.checkpoints, expected_vkey=GOOD.key.vkey)
    assert _first(report).index == 0


def test_a_fork_is_found_by_a_checkpoint_from_elsewhere() -> None:
    """A checkpoint that the auditor kept from earlier does not agree with a ledger that was rewritten since."""
    ledger = Ledger()
    ledger.start()
    ledger.sign_checkpoint()
    kept = list(ledger.checkpoints)
    ledger.add(ledger.refused())
    before = ledger.head
    text = checkpoint.signing_text(ledger.key.name, before.size, bytes(32))
    kept.append((before.size, checkpoint.assemble(text, ledger.key, ledger.log_key.sign(text))))
    assert (_first(verify(ledger.entries, kept)).index, _first(verify(ledger.entries, kept)).last) == (2, 2)


@pytest.mark.parametrize("name", ["k1", "p1", "e1", "h1"])
def test_a_signature_that_is_not_the_keys_is_named(name: str) -> None:
    """A ledger whose own leader wrote a signature over something else: the exact entry, and the replay goes on."""
    ledger = sample(4)
    event = ledger.issued(name)
    wrong = Signature(value=bytes(64), recovery_id=event.signature.recovery_id)
    if name != "h1":
        wrong = replace(ledger.token[name].sign(b"\1" * 32))
    index = ledger.force(replace(event, signature=wrong))
    ledger.add(ledger.refused())
    ledger.sign_checkpoint()
    report = verify(ledger.entries, ledger.checkpoints)
    assert [problem.index for problem in report.problems] == [index]
    assert report.folded == len(ledger.entries)


def test_the_other_form_of_a_signature_is_named() -> None:
    """A high s is the same signature in another form, and refused: one signature has one form."""
    for name, order in (("k1", SECP256K1_ORDER), ("p1", P256_ORDER)):
        ledger = sample(4)
        event = ledger.issued(name)
        high = order - int.from_bytes(event.signature.value[32:], "big")
        recovery_id = None if event.signature.recovery_id is None else 1 - event.signature.recovery_id
        value = event.signature.value[:32] + high.to_bytes(32, "big")
        index = ledger.force(replace(event, signature=Signature(value=value, recovery_id=recovery_id)))
        report = verify(ledger.entries, ledger.checkpoints)
        assert [problem.index for problem in report.problems] == [index]
        assert "s not low" in _first(report).sentence


def test_a_second_answer_to_one_request_is_named() -> None:
    """One request id of one caller has one answer in the whole ledger (I3)."""
    ledger = sample(8)
    first = next(event for event in ledger.events if isinstance(event, SignatureIssued))
    index = ledger.force(replace(ledger.issued("k1", request_id=first.request.request_id)))
    report = verify(ledger.entries, ledger.checkpoints)
    assert [problem.index for problem in report.problems] == [index]


def test_what_does_not_follow_ends_the_replay() -> None:
    """An event under another policy than the one in force is named; what comes after is only hashed."""
    ledger = sample(4)
    index = ledger.force(replace(ledger.issued("k1"), policy_sha256=bytes(32)))
    ledger.force(ledger.refused())
    ledger.sign_checkpoint()
    report = verify(ledger.entries, ledger.checkpoints)
    assert [problem.index for problem in report.problems] == [index]
    assert (report.folded, report.entries, report.covered) == (index, index + 2, index + 2)


def test_a_gap_is_named() -> None:
    """Rows that jump over an index, or stand before the first, end the audit with the exact place."""
    rows = [Row(index=index, body=body) for index, body in enumerate(GOOD.entries)]
    report = verify_rows([*rows[:7], *rows[9:]], GOOD.checkpoints, expected_head=(len(rows), GOOD.head.root))
    assert report.problems == (
        Problem(index=7, last=8, sentence="entries 7..8 are missing: the next one that is there is entry 9"),
    )
    report = verify_rows([replace(rows[0], index=-1), *rows], GOOD.checkpoints)
    assert _first(report).index == -1


def test_a_wrong_request_index_is_named() -> None:
    """A row that a look-up by request id would not find, or find for another request, is named."""
    rows = [Row(index=index, body=body, has_request_key=index == 10) for index, body in enumerate(GOOD.entries)]
    assert [problem.index for problem in verify_rows(rows, GOOD.checkpoints).problems] == [10]


def test_an_archive_that_breaks_off_is_a_finding() -> None:
    """When entries cannot be read further, that is the problem, at its place."""

    def rows() -> Iterable[Row]:
        for index, body in enumerate(GOOD.entries[:9]):
            yield Row(index=index, body=body)
        raise Corrupt("the disk is damaged")

    report = verify_rows(rows(), GOOD.checkpoints, expected_head=(GOOD.head.size, GOOD.head.root))
    assert report.problems == (Problem(index=9, sentence="the ledger cannot be read further: the disk is damaged"),)


def test_checkpoints_carry_the_genesis_in_their_origin() -> None:
    """The origin in every checkpoint is the enclave and the hash of entry 0."""
    for _, note in GOOD.checkpoints:
        found = parse_checkpoint(parse_note(note).text)
        assert found.origin == f"keyvault/hot/{leaf_hash(GOOD.entries[0]).hex()[:16]}"
