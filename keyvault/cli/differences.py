"""What a new policy or charter changes against the one in force, line by line, for people who must decide.

``+`` comes, ``-`` goes, ``~`` changes. Every line is printable: names in documents come from others.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from keyvault.cli.charter_file import threshold_text
from keyvault.cli.output import printable
from keyvault.cli.policy_text import format_policy
from keyvault.core.approvals import keyid_of
from keyvault.core.charter import Charter, Duty, Member, Rulers, change_delay_ms
from keyvault.core.policy import Policy
from keyvault.core.policy_cautions import cautions
from keyvault.core.policy_rules import Prices
from keyvault.core.windows import window_text

_KEYID_SHOWN = 16
_CONTEXT_LINES = 20
"""Of an unchanged rule around a changed line: the longest rule that is written in short lists has fewer."""


def caution_lines(policy: Policy) -> list[str]:
    """Return what a careful reader would ask about the policy, a line each."""
    return [f"caution: {each.section} {each.name}: {each.problem}" for each in cautions(policy)]


def policy_changes(old: Policy, new: Policy) -> str:
    """Return which rules, limits, lists, tags and prices come, go and change, by name."""
    before, after = _parts(old), _parts(new)
    lines = [f"  + {each}" for each in after if each not in before]
    lines += [f"  - {each}" for each in before if each not in after]
    lines += [f"  ~ {each}" for each in after if each in before and after[each] != before[each]]
    return "\n".join(map(printable, lines)) or "  nothing changes but the version"


def policy_text_changes(old: Policy, new: Policy) -> str:
    """Return the changed parts of the policy, but for its version, as its file would show them, with lines around."""
    before, after = (format_policy(each).splitlines() for each in (old, replace(new, version=old.version)))
    lines = difflib.unified_diff(before, after, lineterm="", n=_CONTEXT_LINES)
    return "\n".join(f"  {printable(line)}" for line in lines if not line.startswith(("---", "+++", "@@")))


def charter_changes(old: Charter, new: Charter) -> str:
    """Return in plain words who comes and goes, and what changes of keys, groups and thresholds."""
    lines = [
        *_member_changes(_members(old), _members(new)),
        *_compared("group ", _groups(old), _groups(new)),
        *_compared("threshold of ", _thresholds(old), _thresholds(new)),
    ]
    return "\n".join(lines) or "  nothing changes but the version"


def charter_wait(old: Charter, new: Charter, duty: Duty) -> str:
    """Return that the change waits longer than its duty says, and why; nothing if it does not."""
    rulers = Rulers(old)
    own = rulers.thresholds.get(duty)
    if own is None:
        return ""
    waits_ms = change_delay_ms(rulers, new, duty)
    if waits_ms == own.delay_ms:
        return ""
    return (
        f"It WAITS {window_text(waits_ms)} after the last needed yes, because it shortens or drops a delay, or adds a"
        " duty that has one."
    )


def _compared(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Give a line for each name whose text is not the same on both sides; texts that are empty are not shown."""
    for name, text in after.items():
        if name not in before:
            yield _line("+", f"{what}{name}", text)
    for name, text in before.items():
        if name not in after:
            yield _line("-", f"{what}{name}", text)
    for name, text in after.items():
        if name in before and before[name] != text:
            yield _line("~", f"{what}{name}", f"{before[name]} becomes {text}")


def _line(sign: str, name: str, text: str) -> str:
    return printable(f"  {sign} {name}: {text}")


# Policies -------------------------------------------------------------------------------------------------------


def _parts(policy: Policy) -> dict[str, object]:
    """Return everything that a policy has, by what people call it."""
    parts: dict[str, object] = {rule.id: rule for rule in policy.rules}
    parts |= {limit.id: limit for limit in policy.limits}
    parts |= {f"list {name}": values for name, values in policy.lists.items()}
    parts |= {f"tag {name}": keys for name, keys in policy.tags.items()}
    parts |= {f"price of {asset.name}": asset for asset in policy.prices.assets}
    parts |= {f"market {each.venue} {each.symbol}": each for each in policy.prices.markets}
    if policy.prices != Prices():
        dated = policy.prices.as_of, policy.prices.age_ms_max
        parts["date of the prices"] = dated
    return parts


# Charters -------------------------------------------------------------------------------------------------------


def _member_changes(before: Mapping[str, Member], after: Mapping[str, Member]) -> Iterator[str]:
    for name, member in after.items():
        if name not in before:
            yield f"  + member {name}: {_roles(member)}, {_keys(member.public_keys)}, {_callers(member)}"
    for name, member in before.items():
        if name not in after:
            yield f"  - member {name}: {_roles(member)}; approvals of theirs do not count any more"
    for name, member in after.items():
        if name in before:
            yield from _one_member(before[name], member)


def _one_member(old: Member, new: Member) -> Iterator[str]:
    if old.roles != new.roles:
        yield f"  ~ member {new.name}: {_roles(old)} becomes {_roles(new)}"
    coming = tuple(key for key in new.public_keys if key not in old.public_keys)
    going = tuple(key for key in old.public_keys if key not in new.public_keys)
    if coming:
        yield f"  + {_keys(coming)} for member {new.name}"
    if going:
        yield f"  - {_keys(going)} of member {new.name}"
    if old.principals != new.principals:
        yield f"  ~ member {new.name} {_callers(new)}"


def _members(charter: Charter) -> dict[str, Member]:
    return {member.name: member for member in charter.members}


def _groups(charter: Charter) -> dict[str, str]:
    return {group.name: ", ".join(sorted(group.members)) for group in charter.groups}


def _thresholds(charter: Charter) -> dict[str, str]:
    return {each.duty.value: threshold_text(each) for each in charter.thresholds}


def _roles(member: Member) -> str:
    return " and ".join(sorted(member.roles))


def _keys(public_keys: Iterable[bytes]) -> str:
    names = [f"{keyid_of(key)[:_KEYID_SHOWN]}..." for key in public_keys]
    return f"{'key' if len(names) == 1 else 'keys'} {', '.join(names)}"


def _callers(member: Member) -> str:
    return f"calls as {', '.join(sorted(member.principals)) or 'nobody'}"
