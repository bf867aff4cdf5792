"""``keyvault policy quota``: what was used of the limits about a key."""

import click

from keyvault.cli.output import JsonValue, emit, json_option, printable, table
from keyvault.cli.policy_units import format_dollars
from keyvault.cli.session import call
from keyvault.cli.target import Target, target_options
from keyvault.client import AsyncClient, Denied
from keyvault.core.limits_check import VENUE_DIGITS, Quota
from keyvault.core.policy_rules import NATIVE, Limit
from keyvault.core.tallies import Measure
from keyvault.core.units import plain_decimal
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

    async def ask(client: AsyncClient) -> tuple[tuple[Quota, ...], tuple[Limit, ...]]:
        found = await client.quotas(key, principal=principal)
        try:
            return found, (await client.get_policy()).policy.limits
        except Denied:  # bots may not read the policy: then amounts are smallest units
            return found, ()

    found, of = call(target, ask)
    emit({"limits": [quota_document(each) for each in found]}, lambda: quota_table(found, of))


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


def quota_table(quotas: tuple[Quota, ...], of: tuple[Limit, ...] = ()) -> str:
    """Return quotas for people; amounts in whole units where the limit, one of ``of``, says what they are."""
    if not quotas:
        return "No limit is about this key and principal."
    whole = whole_units(of)
    rows = [
        (
            printable(each.limit),
            printable(f"{each.per} {each.group}"),
            number_text(each.measure, each.used, unit),
            f"{number_text(each.measure, each.cap, unit)} {unit_text(each.measure, unit)}",
            window_text(each.window_ms),
        )
        for each in quotas
        for unit in (whole.get(each.limit),)
    ]
    return table(("limit", "for", "used", "of", "window"), rows)


def whole_units(of: tuple[Limit, ...]) -> dict[str, str]:
    """Return, by limit, what 10**18 of its amount are; those of which nobody knows it are left out."""
    return {limit.id: found for limit in of if (found := _whole_unit(limit)) is not None}


def _whole_unit(limit: Limit) -> str | None:
    """Return what 10**18 of a limit's amount are; None where nobody knows the asset's decimals."""
    if limit.venue is not None:
        return limit.asset
    return "ether" if limit.chain_id is not None and limit.asset in (None, NATIVE) else None


def number_text(measure: Measure, number: int, whole: str | None = None) -> str:
    """Return a number of a limit; dollars with a point, and amounts of which 10**18 are a ``whole`` unit."""
    if measure is Measure.AMOUNT and whole is not None:
        return plain_decimal(number, VENUE_DIGITS)
    return format_dollars(number) if measure is Measure.USD else str(number)


def unit_text(measure: Measure, whole: str | None = None) -> str:
    """Return what a limit counts."""
    if measure is Measure.AMOUNT and whole is not None:
        return printable(whole)
    return {Measure.COUNT: "signatures", Measure.AMOUNT: "smallest units", Measure.USD: "USD"}[measure]
