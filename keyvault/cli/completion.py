"""``keyvault completion``: what a shell needs to complete our commands."""

import click
from click.shell_completion import get_completion_class

from keyvault.cli.exits import UsageProblem

_VARIABLE = "_KEYVAULT_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      bash:  eval "$(keyvault completion bash)"          in ~/.bashrc
      zsh:   eval "$(keyvault completion zsh)"           in ~/.zshrc
      fish:  keyvault completion fish | source           in ~/.config/fish/config.fish
    """  # noqa: D301  \b tells click to keep the lines
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageProblem(f"this click has no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "keyvault", _VARIABLE).source())
