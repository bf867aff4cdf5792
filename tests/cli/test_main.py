import subprocess
import sys
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import Result

from keyvault.cli import exits
from keyvault.cli.main import COMMANDS, cli
from tests.deployment import KEYVAULT, run_keyvault

Run = Callable[..., Result]


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, (*path, name))


ALL = [" ".join(path) for path in _commands(cli)]


@pytest.mark.parametrize("path", ALL)
def test_every_command_helps_with_an_example(offline: Run, path: str) -> None:
    """Every command's --help says what it does and shows an example."""
    result = offline(*path.split(), "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"keyvault {path}".strip().split()[-1] in result.stdout


def test_the_issue_s_commands_exist() -> None:
    """Everything that was promised is there."""
    promised = (
        "init, serve, cert issue, key create, key list, key show, key disable, key enable, key import, sign evm-tx,"
        " sign typed-data, sign exchange, sign digest, policy check, policy show, policy apply, audit verify,"
        " audit show, audit export, audit proof, bench, completion, key rotate, key destroy, key keep, key versions,"
        " charter check, charter show, charter apply, proposals list, proposals show, proposals watch, approve,"
        " freeze enclave, freeze key, freeze principal, freeze venue, freeze list, thaw enclave, thaw key,"
        " thaw principal, thaw venue, member keygen, member show"
    )
    assert set(promised.split(", ")) <= set(ALL)


def test_help_documents_every_exit_code(offline: Run) -> None:
    """`keyvault --help` lists every code that a command can end with."""
    text = offline("--help").stdout
    assert [code for code, _ in exits.MEANINGS] == list(exits.Exit)
    for code, meaning in exits.MEANINGS:
        assert f"{code.value:>3}  {meaning}" in text


def test_help_imports_nothing_heavy() -> None:
    """`keyvault --help` and completion of command names do not wait for gRPC, cryptography or rich."""
    script = (
        "import sys; from keyvault.cli.main import cli; cli(['--help'], standalone_mode=False);"
        "print(sorted({'grpc', 'cryptography', 'rich', 'apsw', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_prints_a_script(offline: Run, shell: str, word: str) -> None:
    """`keyvault completion SHELL` prints what the shell needs."""
    result = offline("completion", shell)
    assert result.exit_code == 0
    assert word in result.stdout
    assert "_KEYVAULT_COMPLETE" in result.stdout


def test_completion_completes_commands() -> None:
    """What the script asks for is answered: the commands that begin with what was typed."""
    done = run_keyvault(env={"_KEYVAULT_COMPLETE": "bash_complete", "COMP_WORDS": "keyvault se", "COMP_CWORD": "1"})
    assert done.stdout.split() == ["plain,serve"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nope",), "No such command 'nope'"),
        (("key",), "Usage: "),
        (("sign", "evm-tx"), "Missing option '--key'"),
        (("sign", "evm-tx", "--key", "k", "--value", "1.5 eth"), "unknown unit 'eth'"),
        (("sign", "evm-tx", "--key", "k", "--tx-hex", "0xzz"), "is not hex"),
        (("sign", "evm-tx", "--key", "k", "--nope"), "No such option '--nope'"),
        (("cert", "issue", "bot"), "is not ROLE/NAME"),
        (("cert", "issue", "bot/x"), "--deployment DIR"),
        (("key", "list"), "KEYVAULT_DEPLOYMENT"),
        (("audit", "show"), "either PATH"),
        (("completion", "csh"), "is not one of"),
        (("key", "list", "--timeout", "0"), "is not in the range"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_do(offline: Run, arguments: tuple[str, ...], says: str) -> None:
    """A command that cannot be understood is answered in words, without a traceback, with exit code 2."""
    result = offline(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_every_command_in_the_table_is_a_module_with_that_line() -> None:
    """The table of the help agrees with the commands."""
    context = click.Context(cli)
    for name, line in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert line.endswith(".")


def test_python_m_keyvault_is_keyvault() -> None:
    """`python -m keyvault` runs the same program."""
    done = subprocess.run([*KEYVAULT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("keyvault, version ")
