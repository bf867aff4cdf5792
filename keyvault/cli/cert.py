"""``keyvault cert``: certificates from the deployment's own authority."""

from pathlib import Path

import click

from keyvault.cli import pki
from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import emit, fields, json_option


@click.group()
def command() -> None:
    """Certificates from the deployment's own authority.

    \b
    Example:
      keyvault cert issue bot/mm-2 --deployment ./desk
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@click.argument("identity", metavar="ROLE/NAME")
@click.option(
    "--deployment", envvar="KEYVAULT_DEPLOYMENT", type=click.Path(path_type=Path), help="Gives --ca and --out."
)
@click.option("--ca", "authority", type=click.Path(path_type=Path), help="Folder of the authority. [DEPLOYMENT/ca]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the two new files; made (0700) if it is not there. [DEPLOYMENT/certs]",
)
@click.option("--days", default=pki.LEAF_DAYS, show_default=True, help="Life of the certificate.")
@click.option("--host", "hosts", multiple=True, help="DNS name or IP address of a server; repeatable.")
@json_option
def issue(
    identity: str, deployment: Path | None, authority: Path | None, out: Path | None, days: int, hosts: tuple[str, ...]
) -> None:
    """Issue a certificate and key for ROLE/NAME; the role is server, bot, admin, auditor or node.

    \b
    Example:
      keyvault cert issue bot/mm-2 --deployment ./desk
    """  # noqa: D301  as above
    role, separator, name = identity.partition("/")
    if not separator:
        raise UsageProblem(f"{identity!r} is not ROLE/NAME, as in bot/mm-2")
    credential = pki.issue(
        _folder(authority, deployment, "ca"), role, name, _folder(out, deployment, "certs"), days=days, hosts=hosts
    )
    pairs = (
        ("principal", credential.principal),
        ("certificate", str(credential.certificate)),
        ("private_key", str(credential.private_key)),
    )
    emit(dict(pairs), lambda: fields(pairs))


def _folder(given: Path | None, deployment: Path | None, name: str) -> Path:
    if given is not None:
        return given
    if deployment is None:
        raise UsageProblem("no deployment: give --deployment DIR (or set KEYVAULT_DEPLOYMENT), or both --ca and --out")
    return deployment / name
