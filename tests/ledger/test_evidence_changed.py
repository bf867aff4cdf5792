"""A bundle of evidence that was changed anywhere is refused, and never by a crash."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.errors import Malformed
from keyvault.core.events import (
    BallotCast,
)
from keyvault.ledger.codec import encode
from keyvault.ledger.errors import Unproven
from keyvault.ledger.evidence import TYPE, check_evidence
from tests.ledger.bundles import BUNDLE, CASE, INDEX, entry, written
from tests.ledger.ledgers import sample

GOOD = sample(4)


def _without(document: dict[str, list[dict[str, object]]], *places: int) -> None:
    document["entries"] = [each for number, each in enumerate(document["entries"]) if number not in places]


def _body_of(number: int, body: bytes) -> Callable[[dict[str, list[dict[str, object]]]], None]:
    def change(document: dict[str, list[dict[str, object]]]) -> None:
        document["entries"][number]["entry"] = base64.b64encode(body).decode()

    return change


def _put(name: str, value: object) -> Callable[[dict[str, object]], None]:
    def change(document: dict[str, object]) -> None:
        document[name] = value

    return change


# Places in the bundle: 0 genesis, 1 term, 2-4 charter, 5-7 creation, 8-9 disabled, 10 proposal, 11 ballot, 12 enabled.
TAMPERINGS: dict[str, tuple[Callable[..., None], str]] = {
    "a ballot is left out": (lambda d: _without(d, 11), "needs 1 of admins; approved so far by nobody"),
    "the proposal is left out": (lambda d: _without(d, 10, 11), "there is no open proposal"),
    "the charter's change is left out": (lambda d: _without(d, 2, 3, 4), "not what the members approved"),
    "the charter's change without its ballot": (lambda d: _without(d, 3), "needs 1 of admins"),
    "the charter's change alone": (lambda d: _without(d, 2, 3), "there is no open proposal"),
    "the key's making is left out": (lambda d: _without(d, 5, 6, 7), "has no key k1"),
    "a change of the key is left out": (lambda d: _without(d, 8, 9), "does not apply to it"),
    "the term is left out": (lambda d: _without(d, 1), "the term is 0"),
    "the genesis is left out": (lambda d: _without(d, 0), "entry 0"),
    "the event is left out": (lambda d: _without(d, 12), "says something else"),
    "another ballot's bytes": (_body_of(11, CASE.entries[3]), "is not shown to be in the ledger"),
    "another proposal's ballot": (
        lambda d: d["entries"].__setitem__(11, entry(CASE, 6)),
        "in the order of the ledger",
    ),
    "a ballot that somebody signed since": (
        _body_of(
            11,
            encode(
                replace(
                    next(e for e in CASE.events[::-1] if isinstance(e, BallotCast)),
                    member=CASE.bob.member.name,
                    signature=CASE.bob.say(Voice.APPROVE, b"{}"),
                )
            ),
        ),
        "is not shown to be in the ledger",
    ),
    "another event": (_body_of(12, CASE.entries[9]), "is not shown to be in the ledger"),
    "another genesis": (_body_of(0, GOOD.entries[0]), "entry 0 gives the log key"),
    "another place": (lambda d: d["entries"][12].update(index=INDEX + 1), "is not shown to be in the ledger"),
    "a proof that is too short": (lambda d: d["entries"][12]["proof"].pop(), "is not shown to be in the ledger"),
    "an older checkpoint": (_put("checkpoint", CASE.checkpoints[0][1].decode()), "is not shown to be in the ledger"),
    "another log's checkpoint": (_put("checkpoint", GOOD.checkpoints[-1][1].decode()), "has no signature of"),
    "a fact after the event": (lambda d: d["entries"].append(entry(CASE, INDEX + 2)), "does not follow"),
    "another enclave's name": (_put("enclave", "cold"), "says something else"),
    "another subject": (_put("subject", INDEX - 1), "says something else"),
    "no envelopes": (_put("envelopes", []), "says something else"),
    "another member's envelope": (lambda d: d["envelopes"][-1].update(member="bob"), "says something else"),
    "another key's envelope": (
        lambda d: d["envelopes"][-1].update(public_key_pem=d["envelopes"][0]["public_key_pem"]),
        "says something else",
    ),
    "a remark": (_put("note", "all is well"), "says something else"),
    "another type": (_put("type", "keyvault/evidence/v2"), "its type is not"),
    "no entries": (_put("entries", []), "must be there"),
}


@pytest.mark.parametrize(("change", "words"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_a_bundle_that_was_changed_is_refused(change: Callable[..., None], words: str) -> None:
    """Whatever is left out, swapped, taken from elsewhere or written in, the bundle is refused in words."""
    document = json.loads(BUNDLE)
    assert written(document) == BUNDLE
    assert len(document["entries"]) == 13
    change(document)
    with pytest.raises((Malformed, Unproven)) as refused:
        check_evidence(written(document), CASE.key)
    assert words in str(refused.value)


@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    """One bit anywhere in the file: refused, and never by a crash."""
    changed = bytearray(BUNDLE)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((Malformed, Unproven)):
        check_evidence(bytes(changed), CASE.key)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"type":"keyvault/evidence/v1"}',
        b" " + BUNDLE,
        BUNDLE + b"\n",
        BUNDLE.replace(b'"subject":', b'"subject":1,"subject":'),
        json.dumps({"type": TYPE, "entries": [None], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": True}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": -1, "entry": "", "proof": []}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": 5, "proof": []}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": [5]}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": {}}], "checkpoint": ""}).encode(),
        json.dumps({"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": []}], "checkpoint": 5}).encode(),
        json.dumps(
            {"type": TYPE, "entries": [{"index": 0, "entry": "", "proof": [""] * 64}], "checkpoint": ""}
        ).encode(),
        b'{"type":"keyvault/evidence/v1","checkpoint":"\\ud800","entries":[{"index":0,"entry":"","proof":[]}]}',
    ],
)
def test_what_is_no_bundle_is_malformed(data: bytes) -> None:
    """Noise, nesting, numbers, other types, two forms of the same: refused in words, never by a crash."""
    with pytest.raises((Malformed, Unproven)):
        check_evidence(data, CASE.key)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "entries", "index", "entry", "proof", "checkpoint", "envelopes"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_refused(value: object) -> None:
    """Whatever JSON holds, also in the places of what is right, is refused and never crashes."""
    for document in (value, {"type": TYPE, "entries": value}, json.loads(BUNDLE) | {"entries": [value]}):
        with pytest.raises((Malformed, Unproven)):
            check_evidence(written(document), CASE.key)


def test_bundles_are_bounded() -> None:
    """More bytes or more entries than a bundle can have are not looked at."""
    with pytest.raises(Malformed, match="longer than"):
        check_evidence(bytes(limits.EVIDENCE_BYTES_MAX + 1), CASE.key)
    many = {"type": TYPE, "checkpoint": "", "entries": [0] * (limits.EVIDENCE_ENTRIES_MAX + 1)}
    with pytest.raises(Malformed, match="at most"):
        check_evidence(written(many), CASE.key)
