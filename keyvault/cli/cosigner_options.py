"""Whose cosignatures a command asks for: by --cosigner, or in a C2SP tlog-policy file.

The keys come from where the nodes' owners gave them out, never from the server that is being audited.
"""

import functools
from pathlib import Path

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.target import Command, with_options
from keyvault.ledger import archive
from keyvault.ledger.cosigners import Policy, several


def cosigner_options(command: Command) -> Command:
    """Give a command the options that name cosigners; it gets ``cosigners``, None if none are named."""

    @functools.wraps(command)
    def with_cosigners(
        *, cosigner: tuple[str, ...], cosigners_required: int | None, cosigner_policy: Path | None, **others: object
    ) -> None:
        command(cosigners=_policy(cosigner, cosigners_required, cosigner_policy), **others)

    return with_options(
        with_cosigners,
        (
            click.option(
                "--cosigner",
                multiple=True,
                metavar="VKEY",
                help="A node's or witness's key, as you know it; repeatable.",
            ),
            click.option(
                "--cosigners-required",
                type=click.IntRange(min=1),
                metavar="N",
                help="So many of them must have cosigned. [all]",
            ),
            click.option(
                "--cosigner-policy",
                type=click.Path(dir_okay=False, path_type=Path),
                help="The same as file in the form of C2SP tlog-policy.",
            ),
        ),
    )


def _policy(vkeys: tuple[str, ...], required: int | None, file: Path | None) -> Policy | None:
    if file is not None and (vkeys or required is not None):
        raise UsageProblem("--cosigner-policy says all: it does not go with --cosigner and --cosigners-required")
    if file is not None:
        return archive.read_policy(file)
    if not vkeys and required is not None:
        raise UsageProblem("--cosigners-required needs their keys: --cosigner VKEY, once for each")
    return several(vkeys, required) if vkeys else None
