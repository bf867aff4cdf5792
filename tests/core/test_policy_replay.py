"""A draft held against history: the same policy changes nothing, limits are counted in order, members stay members."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault import intents
from keyvault.core.apply import apply
from keyvault.core.errors import Reason
from keyvault.core.events import SignatureIssued, SignatureRefused
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.intent import Signer
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict, compile_policy
from keyvault.core.policy_facts import Moment
from keyvault.core.policy_replay import Change, Redecided, Replay, Request, intent_of
from keyvault.core.policy_shadow import Shadowed, Shadows
from keyvault.core.state import State, find_key, split_key_name
from keyvault.core.statements import Action
from tests.core.governed import Governed
from tests.worlds import BOT, NOW, OTHER_BOT, allow_digest, escalate_digest, people, policy

MINUTE_MS = 60_000
ALL_BOTS = replace(allow_digest(), principals=ANY)


def world(*rules: Rule, limits: tuple[Limit, ...] = ()) -> Governed:
    """Return an enclave under these rules, with the key signer."""
    made = Governed(*people("alice", "bob"), rules=policy(*rules, limits=limits))
    made.key()
    return made


def replayed(made: Governed, draft: Policy, since: int = 0) -> list[Redecided]:
    """Return what the draft says to every request of the history."""
    replay, state, found = Replay(draft, since=UnixMillis(since)), State.empty(), []
    for index, event in enumerate(made.events):
        intent = None
        if isinstance(event, SignatureRefused):
            key, version = split_key_name(event.request.key)
            intent = intents.parse(event.request.payload, Signer.of(find_key(state, key, version)))
        decided = replay.redecide(state, index, event, intent)
        if decided is not None:
            found.append(decided)
        apply(state, index, event)
    return found


def per_minute(most: int, *, name: str = "few", keys: frozenset[str] | None = None) -> Limit:
    return Limit(id=name, keys=keys or ANY, window_ms=MINUTE_MS, count_max=most)


ASKED = st.lists(st.tuples(st.sampled_from([BOT, OTHER_BOT]), st.integers(0, 40_000)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(asked=ASKED, most=st.integers(0, 4), wide=st.booleans())
def test_the_policy_in_force_changes_nothing(asked: list[tuple[Principal, int]], most: int, *, wide: bool) -> None:
    """Law: replayed under the policy that decided it, every decision is the same, refusals by limits included."""
    made = world(ALL_BOTS if wide else allow_digest(), limits=(per_minute(most),))
    for number, (principal, later_ms) in enumerate(asked):
        made.at += later_ms
        made.sign(f"r{number}", principal=principal)
    found = replayed(made, made.state.policy)
    assert [each.change for each in found] == [Change.SAME] * len(asked)
    assert found == replayed(made, made.state.policy)


def test_a_narrower_draft_refuses_and_says_why() -> None:
    """What was signed and the draft does not permit is newly refused, with its reason."""
    made = world(ALL_BOTS)
    made.sign("r1")
    made.sign("r2", principal=OTHER_BOT)
    first, second = replayed(made, policy(allow_digest()))
    assert (first.change, second.change) == (Change.SAME, Change.NEWLY_REFUSED)
    assert (second.reason, second.was, second.now) == (Reason.NO_RULE_ALLOWS, Verdict.ALLOW, Verdict.DENY)


def test_limits_are_counted_in_order() -> None:
    """Of five signatures in a minute a limit of two lets the first two pass; what it refuses is not counted."""
    made = world(allow_digest())
    for number in range(5):
        made.sign(f"r{number}")
    made.at += MINUTE_MS + 1_000
    made.sign("later")
    found = replayed(made, policy(allow_digest(), limits=(per_minute(2),)))
    assert [each.change for each in found] == [
        *[Change.SAME] * 2,
        *[Change.NEWLY_REFUSED] * 3,
        Change.SAME,
    ]
    assert {each.reason for each in found[2:5]} == {Reason.LIMIT_EXCEEDED}


def test_what_the_draft_allows_is_counted() -> None:
    """A refusal that the draft would have allowed takes room from what came after it."""
    made = world(allow_digest())
    made.sign("r1", principal=OTHER_BOT)
    made.sign("r2")
    found = replayed(made, policy(ALL_BOTS, limits=(per_minute(1),)))
    assert [each.change for each in found] == [Change.NEWLY_ALLOWED, Change.NEWLY_REFUSED]


def test_the_time_before_the_period_is_counted_and_not_told() -> None:
    """What was signed before the period fills the windows as it was, and is no decision of the report."""
    made = world(allow_digest())
    made.sign("r1")
    made.at += 10_000
    made.sign("r2")
    found = replayed(made, policy(allow_digest(), limits=(per_minute(1),)), since=made.at)
    assert [each.change for each in found] == [Change.NEWLY_REFUSED]


def test_what_was_left_to_members_and_the_draft_allows_is_counted_once() -> None:
    """It takes room where members were asked, whatever they say later, and none again where it was signed."""
    made = world(escalate_digest())
    proposal = made.escalated("r1")
    made.cast(proposal, "alice")
    made.sign("r1")
    made.escalated("r2")
    one, two = (policy(allow_digest(), limits=(per_minute(most),)) for most in (1, 2))
    assert [each.change for each in replayed(made, one)] == [Change.NEWLY_ALLOWED, Change.NEWLY_REFUSED]
    assert [each.change for each in replayed(made, two)] == [Change.NEWLY_ALLOWED] * 2


def test_what_was_not_signed_before_the_period_is_not_told() -> None:
    """Refusals and questions to members before the period are no decisions of the report, and fill no window."""
    made = world(escalate_digest())
    made.sign("r1", principal=OTHER_BOT)
    made.escalated("r2")
    made.at += 10_000
    made.escalated("r3")
    found = replayed(made, policy(ALL_BOTS, limits=(per_minute(1),)), since=made.at)
    assert [(each.at, each.change) for each in found] == [(made.at, Change.NEWLY_ALLOWED)]


def test_members_are_asked_once() -> None:
    """A request that members approved is one decision, where they were asked; the draft that allows it says so."""
    made = world(escalate_digest())
    proposal = made.escalated("r1")
    made.cast(proposal, "alice")
    made.sign("r1")
    assert isinstance(made.events[-1], SignatureIssued)
    (same,) = replayed(made, made.state.policy)
    assert (same.change, same.was) == (Change.SAME, Verdict.ESCALATE)
    (allowed,) = replayed(made, policy(allow_digest()))
    assert allowed.change is Change.NEWLY_ALLOWED
    (refused,) = replayed(made, policy())
    assert refused.change is Change.NEWLY_REFUSED


def test_what_is_newly_left_to_members_is_told() -> None:
    """A draft that asks members about what was signed without them says newly escalated, and by which rule."""
    made = world(allow_digest())
    made.sign("r1")
    (found,) = replayed(made, policy(allow_digest(), escalate_digest()))
    assert (found.change, found.rules) == (Change.NEWLY_ESCALATED, ("ask",))


def test_what_no_policy_decides_stays_as_it_was() -> None:
    """A freeze refuses whatever the draft says."""
    made = world(allow_digest())
    made.propose(Action.FREEZE, {"scope": "key", "name": "signer"})
    event = made.sign("r1")
    assert isinstance(event, SignatureRefused)
    assert event.reason is Reason.FROZEN
    (found,) = replayed(made, policy(ALL_BOTS))
    assert (found.change, found.reason) == (Change.SAME, Reason.FROZEN)


def test_a_shadow_rule_says_what_it_would_have_done() -> None:
    """Each shadow rule that matches is told with the verdict that the rules would give with it live."""
    deny = Rule(id="ghost", verdict=Verdict.DENY, keys=frozenset({"signer"}), shadow=True)
    other = Rule(id="other", verdict=Verdict.DENY, keys=frozenset({"cold"}), shadow=True)
    wider = replace(ALL_BOTS, id="wider", shadow=True)
    rules = policy(allow_digest(), deny, other, wider)
    made = world(*rules.rules)
    event = made.sign("r1")
    assert isinstance(event, SignatureIssued)
    shadows = Shadows(compile_policy(rules))
    moment = Moment(now=NOW, familiar=made.state.familiar, known=0)

    def asked(principal: Principal) -> Request:
        key, _ = split_key_name(event.request.key)
        return Request(key=key, version=1, principal=principal, intent=intent_of(event), moment=moment)

    assert list(shadows.matching(asked(BOT))) == [
        Shadowed(rule="ghost", verdict=Verdict.DENY, now=Verdict.DENY),
        Shadowed(rule="wider", verdict=Verdict.ALLOW, now=Verdict.ALLOW),
    ]
    assert list(shadows.matching(asked(OTHER_BOT))) == [
        Shadowed(rule="ghost", verdict=Verdict.DENY, now=Verdict.DENY),
        Shadowed(rule="wider", verdict=Verdict.ALLOW, now=Verdict.ALLOW),
    ]
