"""Whether the limits of the policy in force have room for one more signature; and how much room they have.

1. A limit is asked only in the groups that the signature counts in, and only if it adds anything there.
2. What is not known has no room: an effect without a price in a limit of dollars, an amount that the payload does not
   state in a limit of amounts, and an opaque payload in any limit of amounts or dollars that is about its key.
3. A refusal names the first limit, in the order of the policy, that has no room: the group, what it used of how much in
   which window, and what was asked. For a signature that replaces another, asked is the most of both, and what is
   taken back is not counted as used.
4. A window that may hold what a restored ledger has lost is full (``windows`` law 9).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.charges import Blank, Charge
from keyvault.core.errors import Broken, Reason, Refused
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.policy_rules import NATIVE, Limit, Per, Policy
from keyvault.core.tallies import ALL, NOTHING_REPLACED, About, Cap, Group, Measure, Replaced, Touched
from keyvault.core.units import plain_decimal, utc
from keyvault.core.windows import Reservations, Windows, window_text

_USD_DIGITS = 6
VENUE_DIGITS = 18
"""Amounts at venues are in 10**-18 of whatever it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much of one measure of a limit one group has used, what is under way included."""

    limit: str
    per: Per
    group: str
    measure: Measure
    used: int
    cap: int
    window_ms: int


def check_limits(windows: Windows, reservations: Reservations, charge: Charge, now: UnixMillis) -> Charge:
    """Return what the signature will be charged as, which must stay reserved; or raise Refused(LIMIT_EXCEEDED)."""
    watch = windows.watched
    if not watch.caps:
        return charge
    for cap in watch.unjudgeable:
        if cap.tally.about.is_about_key(charge.key):
            raise Refused(Reason.POLICY_ERROR, f"limit {cap.limit.id} has an amount but no chain", (cap.limit.id,))
    if charge.is_opaque:
        _check_read(watch.caps, charge)
    check_lost(windows, charge, now)
    charge, replaced = windows.replacing(charge, now)
    checks = watch.plan(charge.key, charge.parts).checks
    reserved = reservations.totals(watch)
    for cap, touched in checks:
        asked = touched.amount(charge)
        if charge.unknown and touched.is_unknown(charge):
            raise _unknown(cap.limit, cap.tally.about, charge)
        if asked:
            tally, group = touched.tally, touched.group
            used = tally.used(group, cap.limit.window_ms, now, replaced=replaced) + reserved.get((tally, group), 0)
            if used + asked > cap.most:
                raise _exceeded(cap, touched, used, asked)
    return charge


def check_lost(windows: Windows, charge: Charge, now: UnixMillis) -> None:
    """Raise Refused(LIMIT_EXCEEDED) if the charge adds to a limit whose window may hold what the ledger has lost.

    It depends on facts only, so whoever folds the ledger asks it again.
    """
    if windows.lost_until is None or not windows.has_lost(limits.WINDOW_MS_MAX, now):
        return
    for cap, touched in windows.watched.plan(charge.key, charge.parts).checks:
        if touched.amount(charge) and windows.has_lost(cap.limit.window_ms, now):
            room_at = utc(UnixMillis(windows.lost_until + cap.limit.window_ms))
            raise _no_room(
                cap.limit,
                f"limit {cap.limit.id} counts as full: the ledger was restored, and what was signed before is not"
                f" known. There is room again at {room_at}, {window_text(cap.limit.window_ms)} after it went on",
            )


def quotas(
    policy: Policy,
    windows: Windows,
    reservations: Reservations,
    key: KeyId,
    principal: Principal,
    now: UnixMillis,
) -> tuple[Quota, ...]:
    """Return what was used of every limit that is about this key and principal, in the order of the policy.

    Of limits per venue, destination or asset: the groups that used anything in their window, those that used most
    first, QUOTA_GROUPS_MAX at most. ``policy`` is the one that the windows watch.
    """
    watch = windows.watched
    if policy is not watch.policy and policy != watch.policy:
        raise Broken(f"the windows watch policy version {watch.policy.version}, not {policy.version}")
    reserved = reservations.totals(watch)
    found: list[Quota] = []
    for cap in watch.caps:
        about = cap.tally.about
        if about.is_about_key(key) and about.is_about_principal(principal):
            groups = tuple(_groups(cap, key, principal))
            some = [_quota(windows, cap, group, reserved.get((cap.tally, group), 0), now) for group in groups]
            found += some if about.per in _GIVEN else _most_used(some)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A quota that one signature counts in, and how much it adds; None: that is not known, so there is no room."""

    quota: Quota
    asked: int | None


def room_for(windows: Windows, reservations: Reservations, charge: Charge, now: UnixMillis) -> tuple[Room, ...]:
    """Return every quota that the signature counts in, as ``check_limits`` compares them, and refuse nothing."""
    watch = windows.watched
    charge, replaced = windows.replacing(charge, now)
    reserved = reservations.totals(watch)
    found = []
    for cap, touched in watch.plan(charge.key, charge.parts).checks:
        unknown = bool(charge.unknown) and touched.is_unknown(charge)
        asked = touched.amount(charge)
        if asked or unknown:
            under_way = reserved.get((touched.tally, touched.group), 0)
            quota = _quota(windows, cap, touched.group, under_way, now, replaced)
            found.append(Room(quota=quota, asked=None if unknown else asked))
    return tuple(found)


_GIVEN = frozenset({Per.KEY, Per.PRINCIPAL, Per.TAG, Per.ALL})
"""Whose groups follow from key and principal."""


def _groups(cap: Cap, key: KeyId, principal: Principal) -> Iterator[Group]:
    about = cap.tally.about
    match about.per:
        case Per.KEY:
            yield key
        case Per.PRINCIPAL:
            yield principal
        case Per.TAG:
            yield from (tag for tag, keys in about.tags if key in keys)
        case Per.ALL:
            yield ALL
        case Per.VENUE | Per.DESTINATION | Per.ASSET:
            yield from (group for group in cap.tally.groups if group is not Blank.EVERY)


def _most_used(some: list[Quota]) -> list[Quota]:
    return sorted((each for each in some if each.used), key=lambda each: (-each.used, each.group))[
        : limits.QUOTA_GROUPS_MAX
    ]


def _quota(
    windows: Windows, cap: Cap, group: Group, reserved: int, now: UnixMillis, replaced: Replaced = NOTHING_REPLACED
) -> Quota:
    limit = cap.limit
    used = cap.tally.used(group, limit.window_ms, now, replaced=replaced) + reserved
    return Quota(
        limit=limit.id,
        per=limit.per,
        group=_group_name(group),
        measure=cap.tally.about.measure,
        used=max(used, cap.most) if windows.has_lost(limit.window_ms, now) else used,
        cap=cap.most,
        window_ms=limit.window_ms,
    )


# Words ------------------------------------------------------------------------------------------------------------


def _check_read(caps: tuple[Cap, ...], charge: Charge) -> None:
    principals = {part.principal for part in charge.parts}
    for cap in caps:
        about = cap.tally.about
        if (
            about.measure is not Measure.COUNT
            and about.is_about_key(charge.key)
            and any(map(about.is_about_principal, principals))
        ):
            raise _no_room(
                cap.limit, f"limit {cap.limit.id} counts {_counted(about)}, and what this payload moves is unknown"
            )


def _unknown(limit: Limit, about: About, charge: Charge) -> Refused:
    what = "a price of what this moves" if about.measure is Measure.USD else "how much this moves"
    operations = ", ".join(sorted({part.operation for part in charge.parts}))
    return _no_room(limit, f"limit {limit.id} counts {_counted(about)}, and {what} is not known ({operations})")


def _exceeded(cap: Cap, touched: Touched, used: int, asked: int) -> Refused:
    limit, about = cap.limit, cap.tally.about
    shown = [_number(about, number) for number in (used, cap.most, max(0, cap.most - used), asked)]
    return _no_room(
        limit,
        f"limit {limit.id}: {_group_text(about, touched.group)} used {shown[0]} of {shown[1]} {_unit(about)}"
        f" in {window_text(limit.window_ms)}; {shown[2]} left, this asks for {shown[3]}",
    )


def _no_room(limit: Limit, text: str) -> Refused:
    return Refused(Reason.LIMIT_EXCEEDED, text[: limits.EXPLANATION_CHARS_MAX], (limit.id,))


def _counted(about: About) -> str:
    return "dollars" if about.measure is Measure.USD else "amounts"


def _number(about: About, number: int) -> str:
    if about.measure is Measure.USD:
        return plain_decimal(number, _USD_DIGITS)
    whole_units = about.measure is Measure.AMOUNT and about.place is None
    return plain_decimal(number, VENUE_DIGITS) if whole_units else str(number)


def _unit(about: About) -> str:
    if about.measure is Measure.COUNT:
        return "signatures"
    if about.measure is Measure.USD:
        return "dollars"
    if about.place is None:
        return f"{about.asset} at {about.venue}"
    if about.asset != NATIVE:
        return f"of {about.asset} on {_place_text(about.place)}"
    return f"{'wei' if isinstance(about.place, int) else 'smallest units'} on {_place_text(about.place)}"


def _place_text(place: int | str) -> str:
    return f"chain {place}" if isinstance(place, int) and place >= 0 else str(place)


def _group_name(group: Group) -> str:
    if isinstance(group, tuple):
        place, asset = group
        return f"{'unknown' if isinstance(place, Blank) else place}/{asset}"
    return "unknown" if isinstance(group, Blank) else group


def _group_text(about: About, group: Group) -> str:
    if about.per is Per.ALL:
        return "all together"
    if group is Blank.UNKNOWN:
        return "unknown destinations"
    if isinstance(group, tuple):
        place, asset = group
        return f"asset {asset} at {'an unknown place' if isinstance(place, Blank) else _place_text(place)}"
    return f"{about.per} {group}"
