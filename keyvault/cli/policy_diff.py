"""``keyvault policy diff``: what one policy changes against another, and whether it only takes away."""

from pathlib import Path

import click

from keyvault.cli.differences import policy_changes, policy_text_changes
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import JsonValue, emit, json_option, printable
from keyvault.cli.params import FILE
from keyvault.cli.policy_source import read_policy
from keyvault.cli.session import call
from keyvault.cli.target import Target, target_options
from keyvault.core.policy import Limit, Policy, Rule
from keyvault.core.policy_loosening import Loosening, loosenings


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="[OLD] NEW")
@click.option("--in-force", is_flag=True, help="OLD is the policy in force, which the server shows.")
@target_options("auditor", "approver", "admin", only_with="in_force")
@json_option
def diff(files: tuple[Path, ...], target: Target | None) -> None:
    """Show which rules and limits NEW adds, removes and changes, and whether it only takes away; if not, why not.

    That it only takes away is a proof, part by part: what cannot be shown counts as giving more.

    \b
    Example:
      keyvault policy diff desk.yaml desk-next.yaml
      keyvault policy diff --in-force desk-next.yaml --deployment ./desk
    """  # noqa: D301  \b tells click to keep the lines
    if len(files) != (1 if target else 2):
        raise UsageProblem("give OLD and NEW, or --in-force and NEW")
    new = read_policy(files[-1])
    old = call(target, lambda client: client.get_policy()).policy if target else read_policy(files[0])
    why = loosenings(old, new)
    emit(_document(old, new, why), lambda: _text(old, new, why))


def _document(old: Policy, new: Policy, why: tuple[Loosening, ...]) -> dict[str, JsonValue]:
    return {
        "old_version": old.version,
        "new_version": new.version,
        "rules": _changes(old.rules, new.rules),
        "limits": _changes(old.limits, new.limits),
        "lists_change": old.lists != new.lists,
        "tags_change": old.tags != new.tags,
        "prices_change": old.prices != new.prices,
        "only_takes_away": not why,
        "loosened_by": [{"part": each.part, "name": each.name, "why": each.why} for each in why],
    }


def _changes(old: tuple[Rule, ...] | tuple[Limit, ...], new: tuple[Rule, ...] | tuple[Limit, ...]) -> JsonValue:
    before: dict[str, Rule | Limit] = {each.id: each for each in old}
    after: dict[str, Rule | Limit] = {each.id: each for each in new}
    return {
        "added": [each for each in after if each not in before],
        "removed": [each for each in before if each not in after],
        "changed": [each for each in after if each in before and after[each] != before[each]],
    }


def _text(old: Policy, new: Policy, why: tuple[Loosening, ...]) -> str:
    versions = [] if old.version == new.version else [f"  version {old.version} becomes {new.version}"]
    parts = [*versions, policy_changes(old, new)]
    if old.prices != new.prices:
        parts.append("  ~ prices")
    text = policy_text_changes(old, new)
    if text:
        parts.append(f"\n{text}\n")
    if not why:
        return "\n".join([*parts, "It only takes away."])
    return "\n".join([*parts, "It LOOSENS the policy, or that it does not cannot be shown:", *map(_why, why)])


def _why(each: Loosening) -> str:
    return f"  {' '.join(filter(None, (each.part, printable(each.name))))} {each.why}"
