"""Statements: one canonical form, exactly the parameters of each action, and what is bound by it."""

import dataclasses
import hashlib
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.charter import Duty
from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.replay_read import ReplayRead
from keyvault.core.statements import (
    DUTIES,
    ROTATION_SERVICE,
    Action,
    Statement,
    check_parameters,
    decode_statement,
    facts_sha256,
    payload_sha256,
    proposal_id_of,
    subject_of,
    words_sha256,
)
from tests.core.statement_parameters import PARAMETERS
from tests.worlds import BOT, NOW

SIGNER = {"algorithm", "public_key"}
"""Whose signature it is, for decoders; people read the key's name and version."""


def statement(action: Action, **changed: str) -> Statement:
    """Return a good statement of this action."""
    return Statement(
        action=action,
        enclave=EnclaveName("hot"),
        enclave_id="0b" * 32,
        policy_version=3,
        requester=BOT if action is Action.SIGN else "alice",
        parameters=tuple(sorted((PARAMETERS[action] | changed).items())),
        nonce="00ff",
        expires_at=UnixMillis(NOW),
    )


# Canonical form -----------------------------------------------------------------------------------------------------


def test_every_action_is_told() -> None:
    """The tests below speak of every action there is."""
    assert set(PARAMETERS) == set(Action)


@pytest.mark.parametrize("action", Action)
def test_a_statement_survives_writing_and_reading(action: Action) -> None:
    """Decoding the canonical JSON of a statement gives the statement, and its name is the hash of these bytes."""
    payload = statement(action).encode()
    assert decode_statement(payload) == statement(action)
    assert payload.isascii()
    assert proposal_id_of(payload) == hashlib.sha256(payload).digest()
    document = json.loads(payload)
    assert list(document) == sorted(document)
    assert document["parameters"] == PARAMETERS[action]


@given(st.data(), st.sampled_from(Action))
def test_a_changed_byte_never_decodes_to_the_same_statement(data: st.DataObject, action: Action) -> None:
    """Any other bytes are refused, or are another statement under another name."""
    said = statement(action)
    payload = bytearray(said.encode())
    index = data.draw(st.integers(0, len(payload) - 1))
    payload[index] ^= data.draw(st.integers(1, 255))
    with suppress(Malformed):
        assert decode_statement(bytes(payload)) != said
    assert proposal_id_of(bytes(payload)) != proposal_id_of(said.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"action"', b'{ "action"'),
        (b'"summary":"Create', b'"summary":"Kreate'),
        (b'"policy_version":"3"', b'"policy_version":3'),
        (b'"policy_version":"3"', b'"policy_version":"03"'),
        (b'"policy_version":"3"', b'"policy_version":"+3"'),
        (b'"policy_version":"3"', '"policy_version":"٣"'.encode()),
        (b'"nonce":"00ff"', b'"nonce":"00ff","nonce":"00ff"'),
        (b'"nonce":"00ff"', b'"nonce":"00FF"'),
        (b'"nonce":"00ff"', b'"nonce":""'),
        (b'"nonce":"00ff"', b'"nonce":"00f"'),
        (b'"enclave_id":"0b', b'"enclave_id":"0B'),
        (b'"enclave_id":"0b0b', b'"enclave_id":"0b'),
        (b'"enclave":"hot"', b'"enclave":"Hot"'),
        (b'"key":"eth-hot"', b'"extra":"1","key":"eth-hot"'),
        (b'"requester":"alice"', b'"requester":"Alice"'),
        (b'"requester":"alice"', b'"requester":"service:rotation"'),
        (b'"requester":"alice"', b'"requester":"spiffe://test.local/bot/maker"'),
        (b"keyvault/statement/v2", b"keyvault/statement/v1"),
        (b'"action":"key.create"', b'"action":"key.rotate"'),
        (b'"action":"key.create"', b'"action":"key.steal"'),
    ],
)
def test_bytes_that_are_not_canonical_are_refused(old: bytes, new: bytes) -> None:
    """Spaces, other words, numbers, duplicates, leading zeros and other types are not the one form of a statement."""
    said = statement(Action.KEY_CREATE).encode()
    assert said.count(old) >= 1
    with pytest.raises(Malformed):
        decode_statement(said.replace(old, new, 1))


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b'"x"', b"{}", b"{" * 10_000, b"\xff", b"1" * 5_000])
def test_what_is_no_statement_is_malformed(payload: bytes) -> None:
    """Whatever bytes come, the answer is Malformed and no other error."""
    with pytest.raises(Malformed, match="statement"):
        decode_statement(payload)


def test_a_statement_has_a_bound() -> None:
    """I9: STATEMENT_BYTES_MAX; the longest that can be said is shorter."""
    with pytest.raises(Malformed, match=str(limits.STATEMENT_BYTES_MAX)):
        decode_statement(b" " * (limits.STATEMENT_BYTES_MAX + 1))
    longest = statement(Action.SIGN, quorum="q" * (4 * limits.EXPLANATION_CHARS_MAX), request_id="r" * 64)
    assert len(longest.encode()) <= limits.STATEMENT_BYTES_MAX


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_crash_the_reader(payload: bytes) -> None:
    """Only Malformed comes out."""
    with suppress(Malformed):
        decode_statement(payload)


# Parameters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", Action)
def test_an_action_has_exactly_its_parameters(action: Action) -> None:
    """One less, one more, or an empty line more is refused."""
    good = PARAMETERS[action]
    check_parameters(action, good)
    for name in good:
        with pytest.raises(Malformed, match="exactly the parameters"):
            check_parameters(action, {other: value for other, value in good.items() if other != name})
        with pytest.raises(Malformed, match=name):
            check_parameters(action, good | {name: good[name] + "\n"})
    with pytest.raises(Malformed, match="exactly the parameters"):
        check_parameters(action, good | {"also": "this"})


@pytest.mark.parametrize(
    ("action", "name", "value"),
    [
        (Action.KEY_CREATE, "key", "Eth"),
        (Action.KEY_CREATE, "algorithm", "HMAC_SHA256"),
        (Action.KEY_CREATE, "algorithm", "HMAC_SHA512"),
        (Action.KEY_CREATE, "initial", "DISABLED"),
        (Action.KEY_CREATE, "cryptoperiod_days", "-1"),
        (Action.KEY_CREATE, "cryptoperiod_days", "010"),
        (Action.KEY_CREATE, "rotation", "never"),
        (Action.KEY_IMPORT, "algorithm", "P256"),
        (Action.KEY_IMPORT, "algorithm", "HMAC_SHA1"),
        (Action.KEY_IMPORT, "wrapped_sha256", ""),
        (Action.KEY_IMPORT, "rotation", "propose"),
        (Action.KEY_ROTATE, "version", "0"),
        (Action.KEY_ROTATE, "wrapped_sha256", "00"),
        (Action.KEY_DESTROY, "after_days", "0"),
        (Action.KEY_DESTROY, "version", "٢"),
        (Action.POLICY_PUBLISH, "policy_sha256", "0A" * 32),
        (Action.POLICY_PUBLISH, "replay_sha256", ""),
        (Action.POLICY_PUBLISH, "replay_sha256", "0A" * 32),
        (Action.CHARTER_CHANGE, "version", "1.5"),
        (Action.BREAK_GLASS, "reason", ""),
        (Action.BREAK_GLASS, "reason", "x" * 501),
        (Action.BREAK_GLASS, "reason", "line\nbreak"),
        (Action.FREEZE, "scope", "token"),
        (Action.FREEZE, "name", ""),
        (Action.FREEZE, "name", "nobody in particular"),
        (Action.THAW, "name", "something"),
        (Action.CEREMONY_STEP, "step", "0"),
        (Action.LEAVE_QUARANTINE, "incarnation", "0"),
        (Action.LEAVE_QUARANTINE, "lost_position", "007"),
        (Action.LEAVE_QUARANTINE, "lost_root", "none"),
        (Action.LEAVE_QUARANTINE, "reason", ""),
        (Action.SIGN, "request_id", "no spaces"),
        (Action.SIGN, "kind", ""),
    ],
)
def test_every_parameter_has_its_form(action: Action, name: str, value: str) -> None:
    """What is out of form is refused, and the error says which parameter it is."""
    with pytest.raises(Malformed, match=rf"parameters\.{name}"):
        statement(action, **{name: value}).encode()


def test_break_glass_can_only_replace_the_charter() -> None:
    """It has the parameters of a new charter and a reason, and no other action has its threshold."""
    assert PARAMETERS[Action.BREAK_GLASS].keys() == PARAMETERS[Action.CHARTER_CHANGE].keys() | {"reason"}
    assert [action for action, duty in DUTIES.items() if duty is Duty.BREAK_GLASS] == [Action.BREAK_GLASS]


def test_every_action_has_its_duty() -> None:
    """All but publishing a policy, where it depends, and signing, where the policy says."""
    assert set(Action) - set(DUTIES) == {Action.POLICY_PUBLISH, Action.SIGN}
    depending = {Duty.POLICY_LOOSEN, Duty.POLICY_TIGHTEN}
    assert set(DUTIES.values()) == set(Duty) - depending


def test_only_a_rotation_is_asked_for_by_the_enclave() -> None:
    """The name of the service is no member's, and stands for rotations alone."""
    own = dataclasses.replace(statement(Action.KEY_ROTATE), requester=ROTATION_SERVICE)
    assert decode_statement(own.encode()) == own
    for action in (Action.KEY_CREATE, Action.SIGN):
        with pytest.raises(Malformed):
            decode_statement(dataclasses.replace(statement(action), requester=ROTATION_SERVICE).encode())


# Plain words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", Action)
def test_the_plain_words_say_every_parameter(action: Action) -> None:
    """Whoever reads the summary reads all that is asked: each value stands in it, and another value changes it."""
    said = statement(action)
    summary = said.summary()
    assert "hot" in summary
    for name, value in said.parameters:
        hidden = action is Action.SIGN and name in SIGNER | {"facts_sha256", "words_sha256"}
        hidden |= name in ("cryptoperiod_days", "rotation", "stands", "decided_at_ms")  # in words of their own
        assert hidden or all(word in summary for word in value.split(" ")), name


def test_break_glass_is_loud() -> None:
    """Nobody overlooks it."""
    assert statement(Action.BREAK_GLASS).summary().startswith("BREAK GLASS")
    assert "carol lost her key" in statement(Action.BREAK_GLASS).summary()


def test_braces_in_a_reason_are_only_text() -> None:
    """A reason is not formatted again."""
    assert "{enclave} {0}" in statement(Action.BREAK_GLASS, reason="{enclave} {0}").summary()


# What is bound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "left_out"),
    [
        (Action.KEY_CREATE, set()),
        (Action.KEY_ROTATE, {"initial", "wrapped_sha256"}),
        (Action.POLICY_PUBLISH, {"version", "replay_sha256"}),
        (Action.CHARTER_CHANGE, {"version"}),
        (Action.BREAK_GLASS, {"version", "reason"}),
        (Action.FREEZE, set()),
        (Action.SIGN, SIGNER | {"key_version", "request_id", "kind", "facts_sha256", "words_sha256", "quorum"}),
    ],
)
def test_a_second_attempt_has_the_same_subject(action: Action, left_out: set[str]) -> None:
    """Who, when and under which policy do not matter, and what a second attempt changes does not; the rest does."""
    said = statement(action)
    again = dataclasses.replace(said, nonce="01", requester="bob", expires_at=UnixMillis(NOW + 1), policy_version=4)
    assert subject_of(again) == subject_of(said)
    for name, value in PARAMETERS[action].items():
        other = dataclasses.replace(
            said, parameters=tuple((each, value + "x" if each == name else old) for each, old in said.parameters)
        )
        assert (subject_of(other) == subject_of(said)) is (name in left_out), name


def test_different_actions_are_different_subjects() -> None:
    """To enable is not to disable, though all parameters are the same."""
    assert subject_of(statement(Action.KEY_ENABLE)) != subject_of(statement(Action.KEY_DISABLE))
    assert subject_of(statement(Action.CHARTER_CHANGE)) != subject_of(statement(Action.BREAK_GLASS))


def test_the_hash_of_a_payload_knows_where_its_parts_end() -> None:
    """Bytes that move from one part to the next, or another kind, are another payload."""
    one = Payload(kind=PayloadKind.BINANCE_REST, parts=(b"ab", b"c"))
    two = Payload(kind=PayloadKind.BINANCE_REST, parts=(b"a", b"bc"))
    three = Payload(kind=PayloadKind.TYPED_DATA, parts=(b"ab", b"c"))
    assert len({payload_sha256(each) for each in (one, two, three)}) == 3


def test_the_hash_of_the_facts_knows_every_field() -> None:
    """Each field of each effect, their order, the signing input and the completeness are bound."""
    effect = Effect(operation=Operation.TRANSFER, chain_id=1, destination="0x00", amount=1, fee_max=1)
    base = facts_sha256((effect,), b"i", Completeness.FULL)
    blanks = [
        dataclasses.replace(effect, operation=Operation.CALL),
        dataclasses.replace(effect, chain_id=None),
        dataclasses.replace(effect, destination=None),
        dataclasses.replace(effect, amount=None),
        dataclasses.replace(effect, fee_max=None),
    ]
    others = [facts_sha256((blank,), b"i", Completeness.FULL) for blank in blanks]
    others += [
        facts_sha256((dataclasses.replace(effect, venue="x"),), b"i", Completeness.FULL),
        facts_sha256((dataclasses.replace(effect, selector="0x01"),), b"i", Completeness.FULL),
        facts_sha256((dataclasses.replace(effect, primary_type="x"),), b"i", Completeness.FULL),
        facts_sha256((dataclasses.replace(effect, symbol="x"),), b"i", Completeness.FULL),
        facts_sha256((dataclasses.replace(effect, side="x"),), b"i", Completeness.FULL),
        facts_sha256((effect, effect), b"i", Completeness.FULL),
        facts_sha256((), b"i", Completeness.FULL),
        facts_sha256((effect,), b"j", Completeness.FULL),
        facts_sha256((effect,), b"i", Completeness.PARTIAL),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert words_sha256("a") != words_sha256("b")


@pytest.mark.parametrize(
    ("days", "rotation", "words"),
    [
        ("0", "warn", "it is ACTIVE at once, and never due for rotation."),
        ("365", "warn", "and due for rotation after 365 days."),
        ("365", "propose", "and due for rotation after 365 days (the enclave proposes that itself)."),
    ],
)
def test_a_cryptoperiod_is_said_in_words(days: str, rotation: str, words: str) -> None:
    """Whether and when a key is due for rotation is said as people say it."""
    said = statement(Action.KEY_CREATE, initial="ACTIVE", cryptoperiod_days=days, rotation=rotation)
    assert said.summary().endswith(words)


def test_a_policy_without_a_replay_says_so() -> None:
    """Members read whether the policy was held against the ledger's history before it was proposed."""
    assert (
        "no replay of the ledger under it was made" in statement(Action.POLICY_PUBLISH, replay_sha256="none").summary()
    )
    assert f"replay report {'0c' * 32}." in statement(Action.POLICY_PUBLISH).summary()


def test_a_replay_says_how_much_it_read() -> None:
    """Period, entries and number of requests are words that members sign: an empty report looks like one."""
    read = ReplayRead(sha256="0c" * 32, requests=0, entries=1, since=1_790_000_000_000, until=1_790_000_000_999)
    words = statement(Action.POLICY_PUBLISH, **read.parameters()).summary()
    said = "says of 0 requests from 2026-09-21T14:13:20Z to 2026-09-21T14:13:20Z, in the first 1 entries."
    assert words.endswith(f"replay report {'0c' * 32} {said}")


@pytest.mark.parametrize(
    "change",
    [
        {"replay_sha256": "none"},
        {"replay_requests": "many"},
        {"replay_since_ms": "-1"},
        {"replay_until_ms": "9" * 14},
    ],
)
def test_a_replay_s_words_are_checked(change: dict[str, str]) -> None:
    """Numbers are numbers, and without a report there is nothing that it read."""
    read = ReplayRead(sha256="0c" * 32, requests=5, entries=1, since=1, until=2).parameters()
    with pytest.raises(Malformed):
        statement(Action.POLICY_PUBLISH, **(read | change)).summary()
    del read["replay_entries"]
    with pytest.raises(Malformed, match="has exactly the parameters"):
        statement(Action.POLICY_PUBLISH, **read).summary()
