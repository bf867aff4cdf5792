"""``keyvault policy``: check a file, show what is in force, propose a new version."""

from dataclasses import replace
from pathlib import Path

import click

from keyvault.cli.charter_file import threshold_text
from keyvault.cli.differences import caution_lines, policy_changes
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import JsonValue, emit, hexed, json_option, say
from keyvault.cli.policy_diff import diff
from keyvault.cli.policy_examples import command as examples
from keyvault.cli.policy_explain import explain
from keyvault.cli.policy_fields import fields
from keyvault.cli.policy_file import format_policy
from keyvault.cli.policy_quota import quota
from keyvault.cli.policy_replay import replay, shadow
from keyvault.cli.policy_source import read_policy
from keyvault.cli.policy_test import command as test
from keyvault.cli.replay_checked import check_replay
from keyvault.cli.replay_report import read_report, read_text
from keyvault.cli.session import call, signer
from keyvault.cli.target import ChosenMember, Target, approval_options, member_options, target_options
from keyvault.cli.told import emit_proposal
from keyvault.client import AsyncClient, Proposal
from keyvault.core.charter import Duty, Rulers
from keyvault.core.policy import Policy
from keyvault.core.policy_cautions import cautions
from keyvault.core.policy_change import is_tightening
from keyvault.ledger.codec_policy import encode_policy, policy_sha256

_UNREPLAYED = (
    "{file}: it loosens the policy in force, so show members what it would have done:"
    " keyvault policy replay {file} --ledger LEDGER --out REPORT, then --replay REPORT; or say --without-replay"
)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Check, show and change the policy. What a file can say: `keyvault policy fields`; four to start from: `examples`.

    \b
    Example:
      keyvault policy fields
      keyvault policy check desk.yaml
      keyvault policy apply desk.yaml --deployment ./desk --member alice
    """  # noqa: D301  \b tells click to keep the lines


for _other in (test, examples, fields, explain, diff, replay, shadow, quota):
    command.add_command(_other)


@command.command()
@click.argument("file", type=_FILE)
@json_option
def check(file: Path) -> None:
    """Check a policy FILE offline; every problem is listed as file:line:column.

    Cautions name rules and limits that let much through; a policy that has them can be published.

    \b
    Example:
      keyvault policy check desk.yaml
    """  # noqa: D301  as above
    policy = read_policy(file)
    digest = hexed(policy_sha256(encode_policy(policy)))
    asked: list[JsonValue] = [{each.section: each.name, "problem": each.problem} for each in cautions(policy)]
    emit(
        {"file": str(file), "version": policy.version, "sha256": digest, **_counts(policy), "cautions": asked},
        lambda: "\n".join((f"{file}: no problems; {_size(policy)}.", *caution_lines(policy))),
    )


@command.command()
@target_options("auditor", "approver", "admin")
@json_option
def show(target: Target) -> None:
    """Show the policy in force, as a file that `policy check` accepts.

    \b
    Example:
      keyvault policy show --deployment ./desk > desk.yaml
    """  # noqa: D301  as above
    found = call(target, lambda client: client.get_policy())
    text = format_policy(found.policy)
    emit({"version": found.policy.version, "sha256": hexed(found.sha256), "yaml": text}, text.rstrip)


@command.command()
@click.argument("file", type=_FILE)
@click.option("--next-version", is_flag=True, help="Propose it as the next version, whatever the file says.")
@click.option("--replay", "report", type=_FILE, help="Report of `keyvault policy replay --out`: its hash goes along.")
@click.option("--short-replay", is_flag=True, help="Take a report that is empty, or ends long before the ledger does.")
@click.option("--without-replay", is_flag=True, help="Propose what loosens without one: members are told so.")
@member_options
@approval_options
@target_options("admin", "approver")
@json_option
def apply(  # one for each option
    file: Path,
    next_version: bool,
    report: Path | None,
    short_replay: bool,
    without_replay: bool,
    target: Target,
    member: ChosenMember,
    approvers: tuple[ChosenMember, ...],
) -> None:
    """Check FILE, show what changes, and propose it.

    A policy that only takes away is in force at once. One that gives more, or of which that cannot be shown, needs the
    charter's quorum for policy-loosen, and waits; and once there is a history, the report of its replay.

    \b
    Example:
      keyvault policy apply desk.yaml --deployment ./desk --member alice
    """  # noqa: D301  as above
    wanted = read_policy(file)
    replayed = None if report is None else read_report(report, wanted)
    key, others = signer(member), tuple(map(signer, approvers))

    async def propose(client: AsyncClient) -> tuple[Policy, Proposal]:
        current = (await client.get_policy()).policy
        policy = _next(wanted, current.version, file, chosen=next_version)
        tightens = is_tightening(current, policy)
        if not (tightens or report or without_replay) and current.rules:
            raise UsageProblem(_UNREPLAYED.format(file=file))
        if report is not None and replayed is not None:
            await check_replay(client, report, replayed, target.enclave, short=short_replay)
            say(f"Its replay decided {read_text(replayed.read)}, again.")
        rulers = Rulers((await client.get_charter()).charter)
        say(f"Policy version {policy.version} of enclave {target.enclave}: {_size(policy)}.")
        say(policy_changes(current, policy))
        for line in caution_lines(policy):
            say(line)
        say(_needs(rulers, tightens=tightens))
        read = None if replayed is None else replayed.read
        return policy, await client.publish_policy(policy, signer=key, approvers=others, replay=read)

    policy, proposal = call(target, propose)
    emit_proposal(proposal, version=policy.version, sha256=hexed(policy_sha256(encode_policy(policy))))


def _needs(rulers: Rulers, *, tightens: bool) -> str:
    found = rulers.thresholds.get(Duty.POLICY_TIGHTEN if tightens else Duty.POLICY_LOOSEN)
    needed = threshold_text(found) if found else "nobody may do it"
    return f"It only takes away ({needed}): at once." if tightens else f"It LOOSENS the policy: needs {needed}."


def _next(policy: Policy, current: int, file: Path, *, chosen: bool) -> Policy:
    if chosen:
        return replace(policy, version=current + 1)
    if policy.version != current + 1:
        raise UsageProblem(
            f"{file}: version {policy.version} does not follow version {current}, which is in force;"
            f" write version: {current + 1}, or give --next-version"
        )
    return policy


def _counts(policy: Policy) -> dict[str, int]:
    return {"rules": len(policy.rules), "limits": len(policy.limits)}


def _size(policy: Policy) -> str:
    return f"{_counted(len(policy.rules), 'rule')}, {_counted(len(policy.limits), 'limit')}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
