"""What was signed first for a slot: a raised fee is no surprise, another content is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Refused
from keyvault.core.familiar import Familiar, Mark, slot_remarks
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict, compile_policy
from keyvault.core.policy_facts import Moment
from keyvault.core.slots import Replaces, Slots

SLOT = "safe:1:0x5afe:7"
PAY = Effect(operation=Operation.TRANSFER, chain_id=1, destination="0x" + "ab" * 20, amount=100, fee_max=10)
DEARER = replace(PAY, fee_max=99)
ELSEWHERE = replace(PAY, destination="0x" + "cd" * 20)
BOT = Principal("spiffe://demo/bot/maker")
LONG = limits.SLOT_MEMORY_ENTRIES


def test_the_first_content_of_a_slot_is_remembered() -> None:
    """The same at another fee is the same; other effects, or more of them, are not; another slot knows nothing."""
    slots = Slots()
    slots.fill(SLOT, [PAY], 3)
    slots.fill(SLOT, [ELSEWHERE], 4)  # the first one stays
    assert slots.replaced(SLOT, [DEARER], 5) is Replaces.SAME
    assert slots.replaced(SLOT, [ELSEWHERE], 5) is Replaces.OTHER
    assert slots.replaced(SLOT, [PAY, PAY], 5) is Replaces.OTHER
    assert slots.replaced("safe:1:0x5afe:8", [ELSEWHERE], 5) is Replaces.NOTHING
    assert slots.replaced(None, [ELSEWHERE], 5) is Replaces.NOTHING


@pytest.mark.parametrize("field", ["amount", "asset", "destination", "operation", "via", "source", "contract"])
def test_nothing_but_the_fee_may_differ(field: str) -> None:
    """An amount that a hash would confuse is told apart, too."""
    other: object = 100 + 2**61 - 1 if field == "amount" else Operation.ALLOWANCE if field == "operation" else "0xother"
    slots = Slots()
    slots.fill(SLOT, [PAY], 0)
    assert slots.replaced(SLOT, [replace(PAY, **{field: other})], 1) is Replaces.OTHER  # type: ignore[arg-type]  # a name


def test_what_came_later_is_not_known() -> None:
    """A decision that knew so many entries is judged as it was made."""
    slots = Slots()
    slots.fill(SLOT, [PAY], 3)
    assert [slots.replaced(SLOT, [ELSEWHERE], known) for known in (0, 3, 4)] == ["", "", "other"]


@given(
    first=st.integers(0, 50),
    more=st.lists(st.integers(0, 2 * (LONG + limits.HISTORY_LAG_MAX)), max_size=12),
    lag=st.integers(0, limits.HISTORY_LAG_MAX),
)
def test_what_is_forgotten_depends_on_places_only(first: int, more: list[int], lag: int) -> None:
    """Whoever judges later, with more entries folded, says what was said with the entries that were known."""
    slots, entries = Slots(), sorted({first + each for each in more} | {first})
    for index in entries:
        slots.fill(SLOT if index == first or index % 3 == 0 else f"slot-{index}", [PAY], index)
        known = max(0, index - lag)
        live = Slots()
        for before in entries:
            if before < known:
                live.fill(SLOT if before == first or before % 3 == 0 else f"slot-{before}", [PAY], before)
        assert slots.replaced(SLOT, [ELSEWHERE], known) == live.replaced(SLOT, [ELSEWHERE], known)


def test_a_slot_that_was_forgotten_is_remembered_again() -> None:
    """What fills it next is its first content, also for whoever still judges with the older one."""
    slots = Slots()
    slots.fill(SLOT, [PAY], 0)
    slots.fill(SLOT, [ELSEWHERE], LONG + 1)
    assert slots.replaced(SLOT, [ELSEWHERE], LONG) is Replaces.OTHER
    assert slots.replaced(SLOT, [ELSEWHERE], LONG + 1) is Replaces.NOTHING
    assert slots.replaced(SLOT, [PAY], LONG + 2) is Replaces.OTHER
    slots.fill("another", [PAY], LONG + limits.HISTORY_LAG_MAX + 1)
    assert slots.replaced(SLOT, [PAY], LONG + limits.HISTORY_LAG_MAX + 2) is Replaces.OTHER


def test_memory_is_flat() -> None:
    """I9: SLOT_MEMORY_ENTRIES; an older slot looks new."""
    slots = Slots()
    for index in range(0, 3 * LONG, 7):
        slots.fill(f"slot-{index}", [PAY], index)
    assert len(slots._first) <= (LONG + limits.HISTORY_LAG_MAX) // 7 + 1
    assert slots.replaced("slot-0", [ELSEWHERE], 3 * LONG) is Replaces.NOTHING


def test_a_rule_can_ask_for_it() -> None:
    """Radiant, WazirX: signatures for different contents of one Safe nonce; a raised fee passes."""
    allow = Rule(
        id="pay",
        verdict=Verdict.ALLOW,
        keys=ANY,
        principals=ANY,
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        chains=ANY,
        destinations=ANY,
        amount_max=ANY,
        fee_max=ANY,
    )
    rules = compile_policy(
        Policy(
            version=1,
            rules=(allow, Rule(id="again", verdict=Verdict.DENY, when="replaces == 'other'")),
            limits=(),
        )
    )
    familiar = Familiar()
    familiar.slots.fill(SLOT, [PAY], 3)

    def refused_by(effect: Effect) -> tuple[str, ...]:
        intent = Intent(
            kind=PayloadKind.EVM_TRANSACTION,
            algorithms=frozenset(),
            signing_input=b"",
            effects=(effect,),
            completeness=Completeness.FULL,
            slot=SLOT,
        )
        try:
            rules.evaluate(
                key=KeyId("hot"),
                principal=BOT,
                intent=intent,
                moment=Moment(now=UnixMillis(1), familiar=familiar, known=4),
            )
        except Refused as refused:
            return refused.rules
        return ()

    assert refused_by(DEARER) == ()
    assert refused_by(ELSEWHERE) == ("again",)


def test_members_are_told() -> None:
    """With the entry that signed the other content."""
    slots = Slots()
    slots.fill(SLOT, [PAY], 3)
    (remark,) = slot_remarks(slots, SLOT, (ELSEWHERE,), 4)
    assert (remark.mark, remark.detail) == (Mark.SLOT, "3")
    assert slot_remarks(slots, SLOT, (DEARER,), 4) == slot_remarks(slots, None, (ELSEWHERE,), 4) == ()
