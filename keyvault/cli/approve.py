"""``keyvault approve``: read what is asked, decoded on this machine, and say yes or no with one's own key.

The order is the point: everything is fetched, checked and decoded here, shown, and compared by a person, before the key
is touched. The SDK refuses a payload or a document that is missing, or not what the statement names
(``client.proposals``). Nothing that comes from outside reaches the terminal unescaped.
"""

from dataclasses import dataclass
from pathlib import Path

import click

from keyvault.cli.charter_file import format_charter
from keyvault.cli.differences import caution_lines, charter_changes, charter_wait, policy_changes, policy_text_changes
from keyvault.cli.exits import UsageProblem
from keyvault.cli.key_shown import staying
from keyvault.cli.local_ledger import Copy, check_covers, fold, remarks
from keyvault.cli.output import hexed, is_json, json_option, printable, printable_lines, say
from keyvault.cli.policy_text import format_policy
from keyvault.cli.proposals import fetch
from keyvault.cli.session import call, signer
from keyvault.cli.target import ChosenMember, Target, member_options, target_options
from keyvault.cli.told import emit_proposal, short_name, spoken, standing, told, transport_key_text
from keyvault.client import AsyncClient, Proposal, SignatureMismatch, SignatureSubject
from keyvault.client.results import Remark
from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.familiar import Mark
from keyvault.core.intent import PayloadKind
from keyvault.core.policy import Policy
from keyvault.core.policy_change import is_tightening
from keyvault.core.proposals import Outcome
from keyvault.core.statements import DUTIES, Action
from keyvault.ledger.codec_charter import decode_charter
from keyvault.ledger.codec_policy import decode_policy
from keyvault.ledger.wire_payload import part_names

TYPED_CHARS = 4
"""Digits of the short name that are typed to confirm: nobody types them without having looked."""
_PAYLOAD_SHOWN_CHARS = 2_000
"""Of a payload without --payload."""
_ENDED = {
    Outcome.EXECUTED: Reason.ALREADY_DECIDED,
    Outcome.VETOED: Reason.VETOED,
    Outcome.EXPIRED: Reason.PROPOSAL_EXPIRED,
    Outcome.VOID: Reason.POLICY_CHANGED,
}
_MEANINGS = {
    Mark.NEW_DESTINATION.value: "FIRST-SEEN DESTINATION: nothing was ever signed for {detail}",
    Mark.LOOK_ALIKE.value: "LOOKS LIKE {detail}, WHICH IS KNOWN, AND IS ANOTHER ADDRESS",
    Mark.LARGEST.value: "LARGER THAN ANY BEFORE with this key (so far at most {detail} of its smallest unit)",
    Mark.OPAQUE.value: "NOBODY CAN READ WHAT THIS DOES",
    Mark.SLOT.value: "ANOTHER CONTENT WAS SIGNED FOR ITS SLOT (entry {detail}): WHO HAS BOTH CHOOSES BETWEEN THEM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What a document that is proposed would replace, and who says so; None where none is."""

    source: str = ""
    policy: Policy | None = None
    charter: Charter | None = None


@click.command()
@click.argument("name")
@click.option("--reject", "voice", flag_value="reject", help="I will not approve this; others may.")
@click.option("--veto", "voice", flag_value="veto", help="This is not to be done, whoever approves: final.")
@click.option("--revoke", "voice", flag_value="revoke", help="I approved, and take it back: final.")
@click.option("--yes", is_flag=True, help="Do not ask: for scripts that have compared the short name themselves.")
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    help="Copy of the ledger that has the proposal, to find out here what is new, and what changes.",
)
@click.option("--payload", "whole", is_flag=True, help="Show the whole payload, however long it is.")
@member_options
@target_options("admin", "approver")
@json_option
def command(
    name: str, voice: str | None, yes: bool, ledger: Path | None, whole: bool, target: Target, member: ChosenMember
) -> None:
    """Show proposal NAME in plain words, and approve it with a member's key (or reject, veto, revoke).

    NAME is the proposal's: its first 8 or more hex digits. The payload is decoded on this machine. Compare the short
    name with whoever asks, by voice; its first four digits are typed to confirm.

    \b
    Example:
      keyvault approve 3f2a91bc77e0 --deployment ./desk --member bob
      keyvault approve 3f2a91bc77e0 --veto --deployment ./desk --member carol
      keyvault approve 3f2a91bc77e0 --deployment ./desk --member bob --key agent:bob
    """  # noqa: D301  \b tells click to keep the lines
    said = Voice(voice or "approve")
    if is_json() and not yes:
        raise UsageProblem("--json asks nothing: give --yes, too, once you have compared the proposal")

    try:
        proposal, in_force, warned = call(target, lambda client: _read(client, name, said, by_server=ledger is None))
        copy = _copy(ledger, target.log_vkey, proposal)
        if copy is not None:
            in_force = _in_copy(copy)
        text = shown(proposal, in_force, whole=whole)
    except SignatureMismatch as mismatch:
        mismatch.add_note("NOTHING WAS SIGNED.")
        raise
    say(text)
    say(_remarked(proposal, copy))
    if warned:
        say(staying(proposal.said))
    if not yes:
        _confirm(proposal, said, member)
    key = signer(member)
    emit_proposal(call(target, lambda client: client.cast(proposal, said, key)))


async def _read(client: AsyncClient, name: str, voice: Voice, *, by_server: bool) -> tuple[Proposal, InForce, bool]:
    """Return the proposal, what it would replace if the server is to say it, and whether its key would not move."""
    if voice is Voice.APPROVE:  # before anybody reads, and believes, what is shown
        await client.proven_enclave()
    proposal = await fetch(client, name)
    if proposal.outcome is not Outcome.OPEN:  # of what has ended not everything is sent, so it cannot be looked at
        raise Refused(_ENDED[proposal.outcome], f"proposal {short_name(proposal.id)}: {standing(proposal)}")
    if voice is Voice.APPROVE and await client.stays_in_one_token(proposal.said):
        return proposal, InForce(), True
    return proposal, await _in_force(client, proposal) if by_server else InForce(), False


async def _in_force(client: AsyncClient, proposal: Proposal) -> InForce:
    if not proposal.document or proposal.said.action is Action.TOKEN_JOIN:
        return InForce()
    source = "that the server says is in force; --ledger FILE finds out here"
    if proposal.said.action is Action.POLICY_PUBLISH:
        return InForce(source=source, policy=(await client.get_policy()).policy)
    return InForce(source=source, charter=(await client.get_charter()).charter)


def _copy(ledger: Path | None, log_vkey: str | None, proposal: Proposal) -> Copy | None:
    """Return what the copy of the ledger says, if there is one; raise UsageProblem if it cannot speak of this."""
    if ledger is None:
        return None
    copy = fold(ledger, log_vkey=log_vkey)
    check_covers(copy, proposal)
    return copy


def _in_copy(copy: Copy) -> InForce:
    state = copy.state
    return InForce(source=f"that is in force in {copy.path}", policy=state.policy, charter=state.rulers.charter)


def shown(proposal: Proposal, in_force: InForce, *, whole: bool) -> str:
    """Return everything about the proposal that a member should read, line by line, printable."""
    parts = [told(proposal)]
    if proposal.subject is not None:
        parts.append(_subject(proposal.subject, whole=whole))
    if proposal.document:
        parts.append(_document(proposal, in_force))
    return "\n\n".join(parts)


def _subject(subject: SignatureSubject, *, whole: bool) -> str:
    """Return what the payload does, as it was decoded here."""
    lines = [
        f"Decoded on this machine, to be signed with key {printable(subject.key)} for {printable(subject.principal)}:",
        *(f"  {number}. {printable(words)}" for number, words in enumerate(subject.words.split("\n"), 1)),
        "",
        "Payload:",
    ]
    text = _payload_text(subject)
    cut = text if whole else text[:_PAYLOAD_SHOWN_CHARS]
    lines += [f"  {line}" for line in printable_lines(cut).split("\n")]
    if len(cut) < len(text):
        lines.append(f"  ... AND {len(text) - len(cut)} MORE CHARACTERS: --payload shows them")
    return "\n".join(lines)


_BINARY = frozenset(
    {
        PayloadKind.EVM_TRANSACTION,
        PayloadKind.EVM_AUTHORIZATION,
        PayloadKind.SOLANA_MESSAGE,
        PayloadKind.BITCOIN_PSBT,
        PayloadKind.COSMOS_SIGN_DOC,
        PayloadKind.RAW_DIGEST,
    }
)
"""Kinds whose first part is not text."""


def _payload_text(subject: SignatureSubject) -> str:
    """Return text payloads as text and others as hex."""
    parts = subject.payload.parts
    if subject.payload.kind in _BINARY:
        return "\n".join((hexed(parts[0]), *(part.decode("utf-8", "backslashreplace") for part in parts[1:])))
    if len(parts) == 1:
        return parts[0].decode("utf-8", "backslashreplace")
    return "\n".join(
        f"{name}: {part.decode('utf-8', 'backslashreplace')}"
        for name, part in zip(part_names(subject.payload.kind), parts, strict=True)
    )


def _document(proposal: Proposal, in_force: InForce) -> str:
    """Return what the document would change, and then all of it: only this is what the statement names."""
    if proposal.said.action is Action.TOKEN_JOIN:
        return transport_key_text(proposal.document)
    try:
        if in_force.policy is not None and proposal.said.action is Action.POLICY_PUBLISH:
            policy = decode_policy(proposal.document)
            changes, text = _policy_changes(in_force, in_force.policy, policy), format_policy(policy)
        elif in_force.charter is not None:
            charter = decode_charter(proposal.document)
            changes = f"It changes the charter ({in_force.source}):\n{charter_changes(in_force.charter, charter)}"
            waits = charter_wait(in_force.charter, charter, DUTIES[proposal.said.action])
            changes = "\n\n".join(filter(None, (changes, waits)))
            text = format_charter(charter)
        else:
            return ""
    except Malformed as error:
        raise SignatureMismatch(f"the document that is proposed cannot be read: {error}") from None
    return f"All of what would be in force:\n{_indented(text)}\n\n{changes}"


def _indented(text: str) -> str:
    return "\n".join(f"  {printable(line)}" for line in text.splitlines())


def _policy_changes(in_force: InForce, old: Policy, new: Policy) -> str:
    verdict = "only takes away" if is_tightening(old, new) else "LOOSENS"
    return "\n".join(
        (
            f"It {verdict} compared with the policy ({in_force.source}):\n{policy_changes(old, new)}\n",
            policy_text_changes(old, new),
            *caution_lines(new),
        )
    )


def _remarked(proposal: Proposal, copy: Copy | None) -> str:
    """Return what is new about it, and who says so."""
    if proposal.subject is None:
        return ""
    if copy is None:
        found, source = proposal.remarks, "the server's word; --ledger FILE finds out here"
    else:
        found = remarks(copy.state, bytes.fromhex(proposal.id), proposal.subject.key, proposal.subject.effects)
        source = f"found out here, from {copy.path}"
    lines = [f"  {each.effect + 1}. {_remark(each)}" for each in found]
    return "\n".join(("", f"New about it ({source}):", *(lines or ["  nothing"])))


def _remark(remark: Remark) -> str:
    detail = printable(remark.detail)
    meaning = _MEANINGS.get(remark.mark)
    return meaning.format(detail=detail) if meaning else f"{printable(remark.mark).upper()} {detail}"


def _confirm(proposal: Proposal, voice: Voice, member: ChosenMember) -> None:
    """Return if the first digits of the short name are typed; end the command otherwise."""
    name = spoken(proposal.id)
    say(f"\nCompare by voice with whoever asks:  {name}")
    typed = click.prompt(
        f"To {voice} it as {member.name}, type the first {TYPED_CHARS} digits", err=True, default="", show_default=False
    )
    if str(typed).strip().lower() != proposal.id[:TYPED_CHARS]:
        say("That is not its name. Nothing was signed.")
        raise click.Abort
