"""``keyvault policy replay`` and ``shadow``: what other rules would have done to the ledger's history."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from keyvault.cli.ledger_walk import Walk, meaning_of, since_of
from keyvault.cli.output import JsonValue, emit, json_option, printable, say, time_text
from keyvault.cli.params import FILE, Span
from keyvault.cli.policy_source import read_policy
from keyvault.cli.replay_report import (
    Findings,
    Read,
    Sum,
    report_bytes,
    report_of,
    report_sha256,
    report_text,
)
from keyvault.core.errors import Refused
from keyvault.core.events import Event, SignatureEscalated, SignatureIssued, SignatureRefused
from keyvault.core.ids import UnixMillis
from keyvault.core.policy_facts import Moment
from keyvault.core.policy_replay import POLICY_REASONS, Replay, Request, charge_for, intent_of
from keyvault.core.policy_rules import Verdict
from keyvault.core.policy_shadow import Shadows
from keyvault.core.state import State, find_key, split_key_name
from keyvault.secretfile import write_new_file

_LEDGER = click.Path(path_type=Path)
_WORDS = {Verdict.ALLOW: "allowed", Verdict.DENY: "refused", Verdict.ESCALATE: "left to members"}


@click.command()
@click.argument("draft", type=FILE)
@click.option("--ledger", type=_LEDGER, required=True, help="The ledger's database file, a copy of it, or an export.")
@click.option("--since", type=Span(), default="7d", show_default=True, help="How long before the last entry to begin.")
@click.option("--entries", type=click.IntRange(min=1), help="Read only the first so many entries, as a report says.")
@click.option("--out", type=FILE, help="New file for the report, which `keyvault policy apply --replay` takes.")
@json_option
def replay(draft: Path, ledger: Path, since: int, entries: int | None, out: Path | None) -> None:
    """Decide the ledger's history again under DRAFT: what is newly allowed, newly refused, newly left to members.

    Limits are counted in order. The period ends with the last entry, so the report, and its hash, are the same on every
    machine. Nothing in the ledger is verified here: `keyvault audit verify` does that.

    \b
    Example:
      keyvault policy replay desk.yaml --ledger ./desk/ledger.db --since 7d --out desk.replay
    """  # noqa: D301  \b tells click to keep the lines
    policy = read_policy(draft)
    walk = Walk(ledger, entries=entries)
    begins = since_of(walk, since)
    made, found = Replay(policy, since=begins), Findings()
    for index, event in walk.events():
        intent = None
        if isinstance(event, SignatureRefused) and event.at >= begins and event.reason in POLICY_REASONS:
            intent = meaning_of(walk.state, event)
        decided = made.redecide(walk.state, index, event, intent)
        if decided is not None:
            found.add(decided)
    read = _read(walk, begins)
    report = report_of(read, policy, found)
    data = report_bytes(report)
    sha256 = report_sha256(data)
    if out is not None:
        write_new_file(out, data)
        say(f"Wrote {out}.")
    emit({**report, "sha256": sha256}, lambda: f"{report_text(read, found)}\nreport {sha256}")


@click.command()
@click.option("--ledger", type=_LEDGER, required=True, help="The ledger's database file, a copy of it, or an export.")
@click.option("--since", type=Span(), default="7d", show_default=True, help="How long before the last entry to begin.")
@json_option
def shadow(ledger: Path, since: int) -> None:
    """Say what the shadow rules of the policies in force would have done, each on its own, had it been live.

    \b
    Example:
      keyvault policy shadow --ledger ./desk/ledger.db --since 30d
    """  # noqa: D301  as above
    walk = Walk(ledger)
    begins = since_of(walk, since)
    found: dict[str, dict[str, Sum]] = {}
    matched: Counter[str] = Counter()
    for rule, was, now, usd in _shadowed(walk, begins):
        matched[rule] += 1
        if was is not now:
            found.setdefault(rule, {}).setdefault(now.value, Sum()).add(usd)
    document: dict[str, JsonValue] = {
        "since_ms": str(begins),
        "until_ms": str(walk.until),
        "rules": {
            rule: {
                "matched": matched[rule],
                "would_have": {verdict: each.document() for verdict, each in found.get(rule, {}).items()},
            }
            for rule in sorted(matched)
        },
    }
    emit(document, lambda: _shadow_text(walk, begins, matched, found))


def _shadowed(walk: Walk, begins: UnixMillis) -> Iterator[tuple[str, Verdict, Verdict, int | None]]:
    """Give each match of a shadow rule: the rule, what was said, what it would have made of it, what that moves."""
    shadows: Shadows | None = None
    for index, event in walk.events():
        state = walk.state
        if event.at < begins or not isinstance(event, SignatureIssued | SignatureEscalated | SignatureRefused):
            continue
        if isinstance(event, SignatureIssued) and event.proposal:
            continue  # decided where members were asked
        if shadows is None or shadows.rules is not state.rules:
            shadows = Shadows(state.rules)
        asked = _asked(state, index, event)
        if asked is None:
            continue
        request, was = asked
        for each in shadows.matching(request):
            yield each.rule, was, each.now, charge_for(state.rules, request).usd


def _asked(state: State, index: int, event: Event) -> tuple[Request, Verdict] | None:
    """Return the request of an entry and what was said to it; None if rules did not decide it."""
    match event:
        case SignatureIssued():
            was, intent, known = Verdict.ALLOW, intent_of(event), event.known
        case SignatureEscalated():
            was, intent, known = Verdict.ESCALATE, intent_of(event), event.known
        case SignatureRefused() if event.reason in POLICY_REASONS:
            found = meaning_of(state, event)
            if found is None:
                return None
            was, intent, known = Verdict.DENY, found, index
        case _:
            return None
    key, version = split_key_name(event.request.key)
    try:
        signs = find_key(state, key, version).version
    except Refused:
        return None
    moment = Moment(now=event.at, familiar=state.familiar, known=known)
    return Request(key=key, version=signs, principal=event.request.principal, intent=intent, moment=moment), was


def _read(walk: Walk, begins: UnixMillis) -> Read:
    return Read(
        enclave=walk.state.enclave,
        entries=walk.size,
        root=walk.root(),
        since=begins,
        until=walk.until,
        policy_version=walk.state.policy.version,
    )


def _shadow_text(walk: Walk, begins: UnixMillis, matched: Counter[str], found: dict[str, dict[str, Sum]]) -> str:
    lines = [f"From {time_text(begins)} to {time_text(walk.until)}:"]
    for rule in sorted(matched):
        lines.append(f"  rule {printable(rule)} matched {matched[rule]} requests")
        for verdict, each in found.get(rule, {}).items():
            lines.append(f"    {each.count} would have been {_WORDS[Verdict(verdict)]}")
    return "\n".join(lines) if matched else f"{lines[0]} no shadow rule matched anything."
