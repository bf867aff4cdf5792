"""``keyvault policy examples``: policies of firms like yours, to start from."""

from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import emit, fields, json_option

EXAMPLES: Final = ("dex-bot", "market-maker", "read-only", "treasury")
"""Names of the policies in ``keyvault/policies``; beside each stand its cases."""

_SUFFIXES = (".yaml", ".test.yaml")


@click.command("examples")
@click.argument("name", required=False, type=click.Choice(EXAMPLES))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the policy and its cases.")
@json_option
def command(name: str | None, out: Path | None) -> None:
    """Print the example NAME, or write it and its cases into a folder; without NAME say which there are.

    \b
    Example:
      keyvault policy examples
      keyvault policy examples market-maker --out .
    """  # noqa: D301  \b tells click to keep the lines
    if name is None and out is not None:
        raise UsageProblem(f"which one? There is {', '.join(EXAMPLES)}")
    if name is None:
        emit(
            {"examples": {each: _title(each) for each in EXAMPLES}}, lambda: fields([(n, _title(n)) for n in EXAMPLES])
        )
    elif out is None:
        text = example(name)
        emit({"name": name, "yaml": text}, text.rstrip)
    else:
        written = [_write(out / f"{name}{suffix}", example(name, suffix)) for suffix in _SUFFIXES]
        emit({"written": written}, lambda: "\n".join(written))


def example(name: str, suffix: str = ".yaml") -> str:
    """Return the policy, or with ``.test.yaml`` its cases."""
    return files("keyvault").joinpath("policies", f"{name}{suffix}").read_text(encoding="utf-8")


def _title(name: str) -> str:
    return example(name).partition("\n")[0].removeprefix("# ")


def _write(path: Path, text: str) -> str:
    """Write a file that is not there yet; raise UsageProblem if it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageProblem(f"{path} is there already: move it, or choose another --out") from None
    return str(path)
