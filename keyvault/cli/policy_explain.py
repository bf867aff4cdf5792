"""``keyvault policy explain``: what is decided about a payload, or was about an entry, and why, rule by rule."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click

from keyvault import intents
from keyvault.cli import sign as sign_commands
from keyvault.cli.exits import JSON_MODE, UsageProblem
from keyvault.cli.ledger_walk import Walk, meaning_of
from keyvault.cli.output import emit, json_option
from keyvault.cli.params import FILE
from keyvault.cli.policy_source import read_policy
from keyvault.cli.session import call
from keyvault.cli.sign_wish import INSTEAD, Wish
from keyvault.cli.simulation_text import simulation_document, simulation_text
from keyvault.cli.target import OFFLINE, Target
from keyvault.client import AsyncClient, Denied
from keyvault.core.apply import suppose
from keyvault.core.commands import RequestSignature
from keyvault.core.errors import Malformed, Refused
from keyvault.core.events import Event, SignatureEscalated, SignatureIssued, SignatureRefused, SignatureRequest
from keyvault.core.ids import UnixMillis, parse_key_id, parse_principal, parse_request_id
from keyvault.core.intent import UNSTAMPED, Intent, Payload, Signer
from keyvault.core.limits_check import Room, room_for
from keyvault.core.policy import Policy
from keyvault.core.policy_explain import explain as outcomes_of
from keyvault.core.policy_facts import Moment
from keyvault.core.policy_replay import Request, charge_for, intent_of, judged
from keyvault.core.policy_rules import Limit, Verdict
from keyvault.core.simulation import Decision, Meaning, Simulation, decision_now, room_now
from keyvault.core.state import State, find_key, moment_of, split_key_name
from keyvault.core.windows import Reservations

_Explained: TypeAlias = tuple[Simulation, tuple[Limit, ...]]
"""What is said, and the limits of the policy that says it, as far as they may be known."""
_NOTHING_UNDER_WAY = Reservations()
_UNNAMED = "explained"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--policy", "policy_file", type=FILE, help="Ask this policy, not the one in force; asks no server.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Ask this copy of the ledger; asks no server.")
@click.option("--index", type=click.IntRange(min=0), help="Of this entry of --ledger, in place of a payload.")
@click.option("--principal", metavar="SPIFFE_ID", help="Who would ask. [with a server: ourselves]")
@json_option
@click.argument("payload", nargs=-1, type=click.UNPROCESSED, metavar="[SIGN-COMMAND]...")
@click.pass_context
def explain(
    context: click.Context,
    policy_file: Path | None,
    ledger: Path | None,
    index: int | None,
    principal: str | None,
    payload: tuple[str, ...],
) -> None:
    """Say what would be decided about a payload, or why an entry was, and what every rule says to every effect.

    The payload is given as `keyvault sign` takes it, command and options; nothing is signed, recorded or charged.
    A server is asked unless --policy or --ledger is given. Of a policy alone nothing was signed before.

    \b
    Example:
      keyvault policy explain digest --key eth-mm-1 0x9f86d0...0a08 --deployment ./desk
      keyvault policy explain --policy desk.yaml --principal spiffe://keyvault.local/bot/demo digest --key k 0x9f86d0...
      keyvault policy explain --ledger ./desk/ledger.db --index 17
    """  # noqa: D301  \b tells click to keep the lines
    policy = read_policy(policy_file) if policy_file else None
    if index is not None:
        if ledger is None or payload:
            raise UsageProblem("--index names an entry of --ledger FILE, and takes no payload")
        walk = Walk(ledger)
        _show(_of_entry(walk, index, policy), walk.state.policy.limits)
        return
    if not payload:
        raise UsageProblem("give a payload as `keyvault sign` takes it, or --ledger FILE and --index N")
    offline = policy is not None or ledger is not None
    if offline and principal is None:
        raise UsageProblem("say who would ask: --principal spiffe://<trust-domain>/bot/<name>")

    def ask(target: Target | None, wish: Wish, given: Payload) -> _Explained:
        if target is None:
            return _offline(ledger, policy, wish, given, principal or "")

        async def both(client: AsyncClient) -> _Explained:
            found = await client.simulate(wish.key, given, principal=principal, request_id=wish.request_id)
            try:
                return found, (await client.get_policy()).policy.limits
            except Denied:  # bots may not read the policy: then amounts are smallest units
                return found, ()

        return call(target, both)

    _with_payload(context, payload, offline=offline, ask=ask)


def _with_payload(
    context: click.Context,
    payload: tuple[str, ...],
    *,
    offline: bool,
    ask: Callable[[Target | None, Wish, Payload], _Explained],
) -> None:
    """Let ``keyvault sign`` read its command line, and explain what it would have had signed."""
    as_json = context.meta[JSON_MODE]

    def instead(target: Target | None, wish: Wish, given: Payload) -> None:
        context.meta[JSON_MODE] = context.meta[JSON_MODE] or as_json
        _show(*ask(target, wish, given))

    context.meta[INSTEAD], context.meta[OFFLINE] = instead, offline
    with sign_commands.command.make_context("sign", list(payload), parent=context) as inner:
        sign_commands.command.invoke(inner)


def _show(found: Simulation, of: tuple[Limit, ...]) -> None:
    emit(simulation_document(found), lambda: simulation_text(found, of))


def _offline(ledger: Path | None, policy: Policy | None, wish: Wish, payload: Payload, principal: str) -> _Explained:
    now = UnixMillis(time.time_ns() // 1_000_000)
    if ledger is None and policy is not None:
        return _of_policy(policy, wish, payload, principal, now), policy.limits
    state = _folded(Walk(ledger or Path()))
    if policy is not None:
        suppose(state, policy)
    key, version = split_key_name(wish.key)
    try:
        intent = intents.parse(payload, Signer.of(find_key(state, parse_key_id(key), version)))
    except Refused as refused:
        raise UsageProblem(f"{refused.explanation}; its version decides what a payload means") from None
    request = SignatureRequest(
        request_id=parse_request_id(wish.request_id or _UNNAMED),
        principal=parse_principal(principal),
        key=wish.key,
        payload=payload,
    )
    command = RequestSignature(request=request, intent=intent)
    decision = decision_now(state, _NOTHING_UNDER_WAY, command, now, intents.describe)
    room = room_now(state, _NOTHING_UNDER_WAY, command, now)
    asked = Request(
        key=parse_key_id(key),
        version=version or 0,
        principal=request.principal,
        intent=intent,
        moment=moment_of(state, now),
    )
    return _simulation(state, asked, decision, room), state.policy.limits


def _of_policy(policy: Policy, wish: Wish, payload: Payload, principal: str, now: UnixMillis) -> Simulation:
    """Explain a payload under a policy alone: nothing was signed before, and the key is nobody's."""
    state = State.empty()
    suppose(state, policy)
    asked = Request(
        key=parse_key_id(split_key_name(wish.key)[0]),
        version=1,
        principal=parse_principal(principal),
        intent=intents.parse(payload, intents.ANYBODY),
        moment=moment_of(state, now),
    )
    return _judged(state, asked)


def _of_entry(walk: Walk, index: int, policy: Policy | None) -> Simulation:
    """Explain the decision that an entry records, or what another policy would have said in its place."""
    event, state = walk.until_index(index), walk.state
    if not isinstance(event, SignatureIssued | SignatureRefused | SignatureEscalated):
        raise UsageProblem(f"entry {index} is no decision about a payload; `keyvault audit show` says what it is")
    intent = _meaning(state, event)
    if intent is None:
        raise UsageProblem(f"entry {index}: its key is not there, or this version cannot decode its payload")
    if policy is not None:
        suppose(state, policy)
    key, version = split_key_name(event.request.key)
    asked = Request(
        key=key,
        version=event.key_version if isinstance(event, SignatureIssued) else version or state.keys[key].primary,
        principal=event.request.principal,
        intent=intent,
        moment=Moment(
            now=event.at,
            familiar=state.familiar,
            known=index if isinstance(event, SignatureRefused) else event.known,
        ),
    )
    if policy is not None:
        return _judged(state, asked)
    return _simulation(state, asked, _recorded(event), _room(state, asked))


def _recorded(event: SignatureIssued | SignatureRefused | SignatureEscalated) -> Decision:
    """Return what the entry says was decided."""
    match event:
        case SignatureIssued():
            approved = f"members approved proposal {event.proposal.hex()[:12]}" if event.proposal else ""
            return Decision(verdict=Verdict.ALLOW, reason=None, explanation=approved, rules=event.rules)
        case SignatureRefused():
            return Decision(verdict=Verdict.DENY, reason=event.reason, explanation=event.explanation, rules=event.rules)
        case SignatureEscalated():
            return Decision(
                verdict=Verdict.ESCALATE, reason=None, explanation="members are asked first", rules=event.rules
            )


def _meaning(state: State, event: Event) -> Intent | None:
    """Return what the payload means, decoded again; the facts of the entry where this build cannot."""
    match event:
        case SignatureIssued():
            key, _ = split_key_name(event.request.key)
            signer = Signer.of(find_key(state, key, event.key_version), event.stamp or UNSTAMPED)
            try:
                return intents.parse(event.request.payload, signer)
            except Malformed:
                return intent_of(event)
        case SignatureEscalated():
            return intent_of(event)
        case SignatureRefused():
            return meaning_of(state, event)
        case _:
            return None


def _judged(state: State, asked: Request) -> Simulation:
    """Explain by rules and limits alone."""
    found = judged(state.rules, state.windows, asked)
    decision = Decision(
        verdict=found.verdict,
        reason=found.reason,
        explanation=found.explanation,
        rules=found.rules,
        quorums=found.quorums,
    )
    return _simulation(state, asked, decision, _room(state, asked))


def _room(state: State, asked: Request) -> tuple[Room, ...]:
    return room_for(state.windows, _NOTHING_UNDER_WAY, charge_for(state.rules, asked), asked.moment.now)


def _simulation(state: State, asked: Request, decision: Decision, room: tuple[Room, ...]) -> Simulation:
    told = outcomes_of(state.rules, asked.key, asked.principal, asked.intent, asked.moment)
    return Simulation(
        decision=decision,
        meaning=Meaning.of(asked.intent, intents.describe),
        outcomes=told.outcomes,
        left_out=0,
        room=room,
        policy_version=state.policy.version,
        at=asked.moment.now,
    )


def _folded(walk: Walk) -> State:
    for _ in walk.events():
        pass
    return walk.state
