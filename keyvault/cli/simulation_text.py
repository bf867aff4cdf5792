"""Simulations as JSON and for people. Pure; names may come from strangers, so every line is printable."""

from keyvault.cli.output import JsonValue, fields, printable, printable_lines, table, time_text
from keyvault.cli.policy_quota import number_text, quota_document, unit_text, whole_units
from keyvault.core.intent import Effect
from keyvault.core.limits_check import Room
from keyvault.core.policy_explain import RuleOutcome
from keyvault.core.policy_rules import Limit, Verdict
from keyvault.core.simulation import Simulation
from keyvault.core.windows import window_text

_VERDICTS = {Verdict.ALLOW: "ALLOW", Verdict.DENY: "DENY", Verdict.ESCALATE: "ESCALATE: members are asked"}
_DOES = {Verdict.ALLOW: "permits", Verdict.DENY: "DENIES", Verdict.ESCALATE: "asks members"}


def simulation_document(found: Simulation) -> dict[str, JsonValue]:
    """Return it for JSON."""
    decision, meaning = found.decision, found.meaning
    return {
        "verdict": decision.verdict.value,
        "reason": None if decision.reason is None else decision.reason.value,
        "explanation": decision.explanation,
        "rules": list(decision.rules),
        "quorums": list(decision.quorums),
        "proposal": decision.proposal,
        "summary": meaning.words.split("\n"),
        "effects": [_effect(each) for each in meaning.effects],
        "completeness": meaning.completeness.value,
        "binds": list(meaning.binds),
        "slot": meaning.slot,
        "not_before_ms": meaning.not_before,
        "expire_time_ms": meaning.expires_at,
        "outcomes": [_outcome(each) for each in found.outcomes],
        "outcomes_left_out": found.left_out,
        "limits": [
            {**quota_document(each.quota), "asked": None if each.asked is None else str(each.asked)}
            for each in found.room
        ],
        "policy_version": found.policy_version,
        "decide_time_ms": found.at,
    }


def simulation_text(found: Simulation, of: tuple[Limit, ...] = ()) -> str:
    """Return it for people: the verdict first, then what every rule and limit says.

    Amounts are in whole units where the limit, one of ``of``, says what they are.
    """
    decision, meaning = found.decision, found.meaning
    head = fields(
        (
            ("verdict", _VERDICTS[decision.verdict]),
            ("reason", decision.reason or ""),
            ("because", printable(decision.explanation)),
            ("rules", printable(", ".join(dict.fromkeys(decision.rules)))),
            ("needs", printable("; and ".join(decision.quorums))),
            ("proposal", printable(decision.proposal)),
            ("policy", f"version {found.policy_version}, at {time_text(found.at)}"),
            ("binds", printable(", ".join(meaning.binds))),
            ("slot", printable(meaning.slot or "")),
            ("ends", "" if meaning.expires_at is None else time_text(meaning.expires_at)),
            ("read", "" if meaning.completeness == "FULL" else f"{meaning.completeness}: not everything is understood"),
        )
    )
    words = [f"  {number}. {line}" for number, line in enumerate(printable_lines(meaning.words).split("\n"), 1)]
    parts = [head, "It would:", *words, "", _outcomes(found)]
    if found.room:
        parts += ["", _room(found.room, of)]
    return "\n".join(parts)


def _outcomes(found: Simulation) -> str:
    apart = [each for each in found.outcomes if each.effect is None]
    rows = [
        (
            str(each.effect + 1),
            printable(each.rule),
            f"{each.verdict}{' (shadow)' if each.shadow else ''}",
            _said(each),
        )
        for each in found.outcomes
        if each.effect is not None
    ]
    lines = [table(("effect", "rule", "verdict", "outcome"), rows)] if rows else ["No rule is about this key and kind."]
    if apart:
        lines.append(f"Not about it: {', '.join(f'{printable(each.rule)} ({each.why_not})' for each in apart)}")
    if found.left_out:
        lines.append(f"... and {found.left_out} outcomes more")
    return "\n".join(lines)


def _said(outcome: RuleOutcome) -> str:
    if not outcome.matches:
        return f"no: {printable(outcome.why_not)}"
    does = f"would have: {_DOES[outcome.verdict]}" if outcome.shadow else _DOES[outcome.verdict]
    return f"{does} ({printable(outcome.why_not)})" if outcome.why_not else does


def _room(room: tuple[Room, ...], of: tuple[Limit, ...]) -> str:
    whole = whole_units(of)
    rows = [
        (
            printable(each.quota.limit),
            printable(f"{each.quota.per} {each.quota.group}"),
            number_text(each.quota.measure, each.quota.used, unit),
            f"{number_text(each.quota.measure, each.quota.cap, unit)} {unit_text(each.quota.measure, unit)}",
            "not known" if each.asked is None else number_text(each.quota.measure, each.asked, unit),
            window_text(each.quota.window_ms),
        )
        for each in room
        for unit in (whole.get(each.quota.limit),)
    ]
    return table(("limit", "for", "used", "of", "this asks", "window"), rows)


def _outcome(each: RuleOutcome) -> dict[str, JsonValue]:
    return {
        "rule": each.rule,
        "verdict": each.verdict.value,
        "effect": each.effect,
        "matches": each.matches,
        "permits": each.permits,
        "why_not": each.why_not,
        "shadow": each.shadow,
    }


def _effect(effect: Effect) -> dict[str, JsonValue]:
    """Return what is stated; numbers are text, for they can be of any size."""
    facts = ((name, getattr(effect, name)) for name in effect.__slots__)
    return {name: str(value) for name, value in facts if value is not None}
