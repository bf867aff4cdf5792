"""``keyvault``: the command line. One file per group of commands; a group is imported when it is used."""

import importlib
import os

import click

from keyvault import __version__
from keyvault.cli.exits import MEANINGS, REQUEST_ID, Exit

COMMANDS: dict[str, str] = {
    "init": "Make a working single-node deployment in a new folder.",
    "serve": "Serve a deployment until SIGTERM.",
    "cert": "Certificates from the deployment's own authority.",
    "member": "Make and show members' approval keys.",
    "key": "The life of keys: create, import, rotate, disable, enable, destroy, list, show.",
    "sign": "Have a payload signed, or learn why not.",
    "policy": "Check, show and change the policy.",
    "charter": "Check, show and change who rules: members, groups, thresholds.",
    "proposals": "List, show and watch what waits for members.",
    "approve": "Read a proposal in plain words; approve, reject, veto or revoke.",
    "freeze": "Stop a key, a principal, a venue or the whole enclave, at once.",
    "thaw": "Lift a freeze.",
    "quarantine": "See why a restored ledger signs nothing, and let it go on.",
    "audit": "Verify, read, export and prove the ledger.",
    "backup": "Write and try a backup of the ledger.",
    "restore": "Make a ledger from a backup.",
    "token": "Tokens with the same keys: create, offer, join, leave, list.",
    "pair": "Two machines without a database between them: show, set.",
    "cluster": "The nodes of an enclave: status, step-down, drain.",
    "database": "Prepare the PostgreSQL database that several nodes share.",
    "bench": "Measure this machine.",
    "completion": "Print the completion script of a shell.",
}
"""Name of each command, which is also its module in ``keyvault.cli``, and its line in the help."""

_EPILOG = (
    "\b\nExit codes:\n"
    + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS)
    + (
        "\n\n\b\nExample:\n"
        "  keyvault init ./desk\n"
        "  keyvault serve --config ./desk/keyvault.toml &\n"
        "  export KEYVAULT_DEPLOYMENT=./desk KEYVAULT_MEMBER=alice\n"
        "  keyvault key create eth-mm-1 --algorithm secp256k1\n"
        "  keyvault approve 3f2a91bc77e0 --member bob\n"
    )
)


class Root(click.Group):
    """Knows its commands by name and imports only what is asked for; says every error its own way."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order of a first day's work."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command called ``command`` in the module of that name."""
        if cmd_name not in COMMANDS:
            return None
        # gRPC reads this when it is imported. Its lines for every failed handshake say nothing that our errors and
        # logs do not, are no JSON, and come as often as a stranger likes.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE" if cmd_name != "serve" else "ERROR")
        command = importlib.import_module(f"keyvault.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error becomes its line on stderr and its exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            raise  # `| head` is no error: click ends quietly
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            if REQUEST_ID in ctx.meta:
                click.echo(f"To learn the outcome: --request-id {ctx.meta[REQUEST_ID]}", err=True)
            ctx.exit(Exit.INTERRUPTED)
        except Exception as error:  # noqa: BLE001  the last door: whatever it is, the caller gets a line and a code
            from keyvault.cli.failures import report  # noqa: PLC0415  brings gRPC along, which most commands do not need

            ctx.exit(report(error, ctx, debug=bool(ctx.params["debug"])))


@click.group(
    cls=Root,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120, "auto_envvar_prefix": None},
)
@click.version_option(__version__, prog_name="keyvault")
@click.option("--debug", is_flag=True, help="Show the traceback of errors.")
def cli(debug: bool) -> None:
    """A signing authority for trading firms: keys in a token, policy before every signature, a ledger after it."""


def main() -> None:
    """Run the command line of this process; does not return."""
    cli(prog_name="keyvault")
