"""The fold: what follows, and what a replica must not believe (I2, I4)."""

import hashlib
from dataclasses import replace

import pytest

from keyvault.core.approvals import Action, Envelope
from keyvault.core.commands import object_id_of
from keyvault.core.decide import Authorised, KeyToMake, decide_change, decide_signature
from keyvault.core.errors import Corrupt, Malformed, Reason, Refused
from keyvault.core.events import (
    Event,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
)
from keyvault.core.ids import Epoch, KeyId, Principal, UnixMillis
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.policy import ANY, Limit
from keyvault.core.state import State, apply
from keyvault.core.windows import Reservations
from keyvault.ledger.codec_policy import encode_policy
from tests.worlds import (
    BOT,
    NOW,
    OTHER_BOT,
    Person,
    allow_digest,
    change,
    create_key,
    digest_request,
    genesis,
    policy,
    signed,
    statement,
)

PUBLIC_KEY = b"\x04" + b"p" * 64


class World:
    """A ledger in memory that grows only by facts that follow."""

    def __init__(self, *people: Person, threshold: int = 1) -> None:
        self.people = people or (Person("alice"),)
        self.state = State.empty()
        self.events: list[Event] = []
        rules = policy(allow_digest(), limits=(Limit(id="few", keys=ANY, window_ms=60_000, count_max=2),))
        self.add(genesis(*self.people, rules=rules, threshold=threshold))
        self.add(TermStarted(at=NOW, epoch=Epoch(1), holder="h", software="s"))

    def add(self, event: Event) -> Event:
        """Append a fact."""
        apply(self.state, len(self.events), event)
        self.events.append(event)
        return event

    def key(self, name: str = "signer") -> KeyCreated:
        """Create a key."""
        plan = decide_change(self.state, create_key(self.state, self.people[0], name), NOW)
        assert isinstance(plan, KeyToMake)
        event = plan.created(self.state, PUBLIC_KEY)
        self.add(event)
        return event

    def sign(self, request_id: str, now: int = NOW) -> SignatureIssued | SignatureRefused:
        """Decide a request and add its fact."""
        decision = decide_signature(self.state, Reservations(), digest_request(request_id), UnixMillis(now))
        event = (
            decision.issued(self.state, Signature(value=bytes(64), recovery_id=0))
            if isinstance(decision, Authorised)
            else decision
        )
        self.add(event)
        return event


def _disabled(world: World, *people: Person, **said: object) -> KeyStateChanged:
    words = statement(world.state, Action.KEY_DISABLE, {"key": "signer", "version": "1"}, **said)  # type: ignore[arg-type]  # test glue
    return KeyStateChanged(
        at=NOW,
        epoch=Epoch(1),
        key=KeyId("signer"),
        version=1,
        state=KeyState.DISABLED,
        authorization=signed(words, *people),
    )


def test_replaying_the_facts_gives_the_same_state() -> None:
    """I2: the fold of the ledger is the state that decided."""
    world = World()
    world.key()
    world.sign("a")
    world.sign("b")
    world.sign("c")
    again = State.empty()
    for index, event in enumerate(world.events):
        apply(again, index, event)
    assert again == world.state
    assert again.windows.used_count(KeyId("signer"), 60_000, NOW) == 2


def test_a_limit_refuses_the_request_after_the_last_one() -> None:
    """The third signature in a window of two is refused with the limit's name."""
    world = World()
    world.key()
    assert isinstance(world.sign("a"), SignatureIssued)
    assert isinstance(world.sign("b"), SignatureIssued)
    third = world.sign("c")
    assert isinstance(third, SignatureRefused)
    assert (third.reason, third.rules) == (Reason.LIMIT_EXCEEDED, ("few",))


def test_what_is_decided_but_not_durable_counts() -> None:
    """Reservations are added to the windows, so overlapping decisions cannot spend a limit twice."""
    world = World()
    world.key()
    reservations = Reservations()
    reservations.reserve(KeyId("signer"), ())
    reservations.reserve(KeyId("signer"), ())
    decision = decide_signature(world.state, reservations, digest_request("x"), NOW)
    assert isinstance(decision, SignatureRefused)
    assert decision.reason is Reason.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    ("key", "principal", "reason"),
    [
        ("nobody", BOT, Reason.KEY_NOT_FOUND),
        ("signer/versions/2", BOT, Reason.KEY_NOT_FOUND),
        ("signer", OTHER_BOT, Reason.NO_RULE_ALLOWS),
    ],
)
def test_a_no_has_its_reason(key: str, principal: Principal, reason: Reason) -> None:
    """I8: what no rule allows is refused, with a reason from the closed list."""
    world = World()
    world.key()
    command = digest_request("r", key=key, principal=principal)
    decision = decide_signature(world.state, Reservations(), command, NOW)
    assert isinstance(decision, SignatureRefused)
    assert decision.reason is reason
    assert decision.explanation


def test_a_disabled_key_signs_nothing_until_it_is_enabled() -> None:
    """Disable is effective on the next decision, enable brings the key back."""
    world = World()
    world.key()
    world.add(_disabled(world, *world.people))
    refused = world.sign("a")
    assert isinstance(refused, SignatureRefused)
    assert refused.reason is Reason.KEY_NOT_ACTIVE
    words = statement(world.state, Action.KEY_ENABLE, {"key": "signer", "version": "1"}, nonce="01")
    plan = decide_change(world.state, change(words, *world.people), NOW)
    assert isinstance(plan, KeyStateChanged)
    world.add(plan)
    assert isinstance(world.sign("b"), SignatureIssued)


def test_a_change_without_enough_admins_is_not_believed() -> None:
    """I4: a privileged fact needs the threshold of different admins; followers check it as the leader did."""
    alice, bob, carol = Person("alice"), Person("bob"), Person("carol", roles=frozenset({"auditor"}))
    world = World(alice, bob, carol, threshold=2)
    said = statement(world.state, Action.KEY_CREATE, {"key": "signer", "algorithm": "SECP256K1"})
    for people in [(), (alice,), (alice, alice), (alice, carol), (alice, Person("bob"))]:
        with pytest.raises(Refused) as refused:
            decide_change(world.state, change(said, *people), NOW)
        assert refused.value.reason is Reason.NOT_AUTHORIZED
        forged = KeyCreated(
            at=NOW,
            epoch=Epoch(1),
            key=KeyId("signer"),
            version=1,
            algorithm=KeyAlgorithm.SECP256K1,
            provenance=KeyProvenance.GENERATED,
            public_key=PUBLIC_KEY,
            token_object_id=object_id_of(said.encode()),
            authorization=signed(said, *people),
        )
        with pytest.raises(Corrupt, match="entry 2"):
            apply(world.state, 2, forged)
    assert world.state.keys == {}
    assert isinstance(decide_change(world.state, change(said, alice, bob), NOW), KeyToMake)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"expires_at": NOW}, Reason.STATEMENT_EXPIRED),
        ({"expires_at": NOW + 8 * 24 * 3600 * 1000}, Reason.STATEMENT_EXPIRED),
        ({"enclave_id": "00" * 32}, Reason.STATEMENT_MISMATCH),
        ({"policy_version": 7}, Reason.STATEMENT_MISMATCH),
        ({"requester": "mallory"}, Reason.NOT_AUTHORIZED),
    ],
)
def test_a_statement_is_good_for_here_and_now_only(said: dict[str, object], reason: Reason) -> None:
    """Expired, too long-lived, for another enclave, for another policy version, or for a stranger: refused."""
    world = World()
    world.key()
    event = _disabled(world, *world.people, **said)
    with pytest.raises(Corrupt) as corrupt:
        apply(world.state, 3, event)
    assert isinstance(corrupt.value.__cause__, Refused)
    assert corrupt.value.__cause__.reason is reason
    assert world.state.keys[KeyId("signer")].state is KeyState.ACTIVE


def test_a_statement_for_one_change_authorizes_no_other() -> None:
    """The envelope of a creation, put on another key or action, is a mismatch."""
    world = World()
    created = world.key()
    for event in (
        replace(created, key=KeyId("other")),
        replace(created, algorithm=KeyAlgorithm.P256),
        replace(created, token_object_id=b"x" * 20),
        KeyStateChanged(
            at=NOW,
            epoch=Epoch(1),
            key=KeyId("signer"),
            version=1,
            state=KeyState.DISABLED,
            authorization=created.authorization,
        ),
    ):
        with pytest.raises(Corrupt):
            apply(world.state, 3, event)


def test_an_unsigned_or_changed_envelope_moves_nothing() -> None:
    """A changed byte in the statement, or no signature at all, leaves the state as it was."""
    world = World()
    world.key()
    good = _disabled(world, *world.people)
    unsigned = Envelope(payload=good.authorization.payload, payload_type=good.authorization.payload_type, signatures=())
    with pytest.raises(Corrupt):
        apply(world.state, 3, replace(good, authorization=unsigned))
    assert world.state.keys[KeyId("signer")].state is KeyState.ACTIVE


def test_a_policy_must_be_the_next_version_and_the_bytes_that_were_signed() -> None:
    """Version N+1 exactly, and the statement names the document's hash."""
    world = World()
    for version, document_version, good in [(2, 2, True), (3, 3, False), (1, 1, False), (2, 3, False)]:
        published = policy(allow_digest(), version=version)
        document = encode_policy(policy(version=document_version) if not good and version == 2 else published)
        words = statement(
            world.state,
            Action.POLICY_PUBLISH,
            {"policy_sha256": hashlib.sha256(encode_policy(published)).hexdigest(), "version": str(version)},
        )
        command = change(words, *world.people, policy=published, document=document)
        if good:
            assert isinstance(decide_change(world.state, command, NOW), PolicyPublished)
        else:
            with pytest.raises(Refused):
                decide_change(world.state, command, NOW)


def test_an_imported_secret_must_be_the_one_that_was_signed_for() -> None:
    """The statement names the hash of the wrapped blob; another blob is refused."""
    world = World()
    blob = b"wrapped"
    words = statement(
        world.state,
        Action.KEY_IMPORT,
        {"key": "venue", "algorithm": "HMAC_SHA256", "wrapped_sha256": hashlib.sha256(blob).hexdigest()},
    )
    assert isinstance(decide_change(world.state, change(words, *world.people, wrapped_secret=blob), NOW), KeyToMake)
    with pytest.raises(Refused, match="wrapped secret"):
        decide_change(world.state, change(words, *world.people, wrapped_secret=b"other"), NOW)


def test_asymmetric_keys_are_never_imported_and_secrets_never_generated() -> None:
    """Creating an HMAC key or importing a curve key is malformed."""
    world = World()
    words = statement(world.state, Action.KEY_CREATE, {"key": "venue", "algorithm": "HMAC_SHA256"})
    with pytest.raises(Malformed):
        decide_change(world.state, change(words, *world.people), NOW)


def test_facts_out_of_place_stop_the_replica() -> None:
    """Genesis twice, a fact before the term, an older epoch, an epoch of nobody: all corrupt."""
    world = World()
    created = world.key()
    with pytest.raises(Corrupt):
        apply(world.state, 3, genesis(*world.people))
    with pytest.raises(Corrupt):
        apply(world.state, 3, TermStarted(at=NOW, epoch=Epoch(1), holder="h", software="s"))
    with pytest.raises(Corrupt):
        apply(world.state, 3, replace(_disabled(world, *world.people), epoch=Epoch(2)))
    fresh = State.empty()
    with pytest.raises(Corrupt):
        apply(fresh, 0, created)
    apply(fresh, 0, genesis(*world.people))
    with pytest.raises(Corrupt):
        apply(fresh, 1, replace(created, epoch=Epoch(0)))


def test_a_signature_by_a_disabled_key_or_under_an_old_policy_is_corrupt() -> None:
    """A ledger that holds what the rules of its moment forbid was not written by them."""
    world = World()
    world.key()
    issued = world.sign("a")
    assert isinstance(issued, SignatureIssued)
    with pytest.raises(Corrupt, match="policy version"):
        apply(world.state, 4, replace(issued, policy_version=2))
    world.add(_disabled(world, *world.people))
    with pytest.raises(Corrupt, match="DISABLED"):
        apply(world.state, 5, issued)


def test_one_key_under_two_names_is_refused() -> None:
    """A person who stands twice in the member list does not become two."""
    alice = Person("alice")
    with pytest.raises(Corrupt, match="under two names"):
        apply(State.empty(), 0, genesis(alice, Person("bob", key=alice.key)))


def test_a_threshold_that_nobody_can_meet_is_refused() -> None:
    """Genesis with fewer admins than its threshold is no genesis."""
    with pytest.raises(Corrupt, match="threshold"):
        apply(State.empty(), 0, genesis(Person("alice"), Person("bob", roles=frozenset({"auditor"})), threshold=2))
