"""``keyvault policy``: check a file, show what is in force, publish a new version."""

from dataclasses import replace
from pathlib import Path

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import emit, hexed, json_option, say
from keyvault.cli.policy_file import format_policy, parse_policy
from keyvault.cli.session import call, signer
from keyvault.cli.target import Approver, Target, member_options, target_options
from keyvault.client import AsyncClient
from keyvault.client.results import PublishedPolicy
from keyvault.core import limits
from keyvault.core.policy import Limit, Policy, Rule
from keyvault.ledger.codec_policy import encode_policy, policy_sha256

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Check, show and publish the policy.

    \b
    Example:
      keyvault policy check desk.yaml
      keyvault policy apply desk.yaml --deployment ./desk
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@click.argument("file", type=_FILE)
@json_option
def check(file: Path) -> None:
    """Check a policy FILE offline; every problem is listed as file:line:column.

    \b
    Example:
      keyvault policy check desk.yaml
    """  # noqa: D301  as above
    policy = _read(file)
    digest = hexed(policy_sha256(encode_policy(policy)))
    emit(
        {"file": str(file), "version": policy.version, "sha256": digest, **_counts(policy)},
        lambda: f"{file}: no problems; {_size(policy)}.",
    )


@command.command()
@target_options("admin", "auditor")
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
@click.option("--next-version", is_flag=True, help="Publish as the next version, whatever the file says.")
@member_options
@target_options("admin")
@json_option
def apply(file: Path, next_version: bool, target: Target, approver: Approver) -> None:
    """Check FILE, show what changes, sign a statement with a member's key, and publish.

    \b
    Example:
      keyvault policy apply desk.yaml --deployment ./desk
    """  # noqa: D301  as above
    wanted, key = _read(file), signer(approver)

    async def publish(client: AsyncClient) -> PublishedPolicy:
        current = (await client.get_policy()).policy
        policy = _next(wanted, current.version, file, chosen=next_version)
        say(f"Publishes policy version {policy.version} in enclave {target.enclave}: {_size(policy)}.")
        say(_changes(current, policy))
        return await client.publish_policy(policy, signer=key)

    published = call(target, publish)
    version, digest = published.policy.version, hexed(published.sha256)
    emit(
        {"version": version, "sha256": digest, "member": approver.name, **_counts(published.policy)},
        lambda: f"Policy version {version} is in force ({digest}), signed by {approver.name}.",
    )


def _next(policy: Policy, current: int, file: Path, *, chosen: bool) -> Policy:
    if chosen:
        return replace(policy, version=current + 1)
    if policy.version != current + 1:
        raise UsageProblem(
            f"{file}: version {policy.version} does not follow version {current}, which is in force;"
            f" write version: {current + 1}, or give --next-version"
        )
    return policy


def _read(file: Path) -> Policy:
    with file.open("rb") as opened:
        data = opened.read(limits.POLICY_FILE_BYTES_MAX + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{file}: is not UTF-8 at byte {error.start}") from None
    return parse_policy(text, name=str(file))


def _changes(old: Policy, new: Policy) -> str:
    """Return which rules and limits come, go and change, by id."""
    before, after = _parts(old), _parts(new)
    lines = [f"  + {each}" for each in after if each not in before]
    lines += [f"  - {each}" for each in before if each not in after]
    lines += [f"  ~ {each}" for each in after if each in before and after[each] != before[each]]
    return "\n".join(lines) or "  no rule or limit changes"


def _parts(policy: Policy) -> dict[str, Rule | Limit]:
    parts: tuple[Rule | Limit, ...] = (*policy.rules, *policy.limits)
    return {each.id: each for each in parts}


def _counts(policy: Policy) -> dict[str, int]:
    return {"rules": len(policy.rules), "limits": len(policy.limits)}


def _size(policy: Policy) -> str:
    return f"{_counted(len(policy.rules), 'rule')}, {_counted(len(policy.limits), 'limit')}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
