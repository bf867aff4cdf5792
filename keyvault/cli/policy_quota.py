"""``keyvault policy quota``: what was used of the limits about a key."""

import click

from keyvault.cli.output import JsonValue, emit, json_option, printable, table
from keyvault.cli.policy_units import format_dollars
from keyvault.cli.session import call
from keyvault.cli.target import Target, target_options
from keyvault.core.limits_check import Quota
from keyvault.core.tallies import Measure
from keyvault.core.windows import window_text


@click.command()
@click.argument("key")
@click.option("--principal", metavar="SPIFFE_ID", help="For whom: admins and auditors may name anybody. [ourselves]")
@target_options("auditor", "admin", "bot")
@json_option
def quota(key: str, principal: str | None, target: Target) -> None:
    """Show every limit about KEY and a principal: what was used of how much, in which window.

    \b
    Example:
      keyvault policy quota eth-mm-1 --deployment ./desk --principal spiffe://keyvault.local/bot/demo
    """  # noqa: D301  \b tells click to keep the lines
    found = call(target, lambda client: client.quotas(key, principal=principal))
    emit({"limits": [quota_document(each) for each in found]}, lambda: quota_table(found))


def quota_document(quota: Quota) -> dict[str, JsonValue]:
    """Return one quota for JSON; numbers are text, for they can be of any size."""
    return {
        "limit": quota.limit,
        "per": quota.per.value,
        "group": quota.group,
        "measure": quota.measure.value,
        "used": str(quota.used),
        "cap": str(quota.cap),
        "window_ms": quota.window_ms,
    }


def quota_table(quotas: tuple[Quota, ...]) -> str:
    """Return quotas for people."""
    if not quotas:
        return "No limit is about this key and principal."
    rows = [
        (
            printable(each.limit),
            printable(f"{each.per} {each.group}"),
            number_text(each.measure, each.used),
            f"{number_text(each.measure, each.cap)} {unit_text(each.measure)}",
            window_text(each.window_ms),
        )
        for each in quotas
    ]
    return table(("limit", "for", "used", "of", "window"), rows)


def number_text(measure: Measure, number: int) -> str:
    """Return a number of a limit; dollars with a point."""
    return format_dollars(number) if measure is Measure.USD else str(number)


def unit_text(measure: Measure) -> str:
    """Return what a limit counts."""
    return {Measure.COUNT: "signatures", Measure.AMOUNT: "smallest units", Measure.USD: "USD"}[measure]
