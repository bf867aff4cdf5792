"""Policies that commands read: a file that was checked."""

from pathlib import Path

from keyvault.cli.exits import UsageProblem
from keyvault.cli.policy_file import parse_policy
from keyvault.core import limits
from keyvault.core.policy import Policy


def read_policy(file: Path) -> Policy:
    """Return the policy in a file, free of lint findings; raise PolicyFileError with every problem, or UsageProblem."""
    with file.open("rb") as opened:
        data = opened.read(limits.POLICY_FILE_BYTES_MAX + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{file}: is not UTF-8 at byte {error.start}") from None
    return parse_policy(text, name=str(file))
