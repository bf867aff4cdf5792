"""``keyvault policy test``: requests, and what a policy must say to each; offline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from keyvault.cli.exits import Exit, UsageProblem
from keyvault.cli.output import JsonValue, emit, json_option
from keyvault.cli.policy_cases import Case, Expected, effect_facts, parse_cases
from keyvault.cli.policy_file import parse_policy
from keyvault.cli.policy_trial import Outcome, Trial, Word
from keyvault.core import limits
from keyvault.core.ids import UnixMillis
from keyvault.core.policy import CompiledPolicy, Policy, compile_policy

_FILE = click.Path(dir_okay=False, path_type=Path)
_SOME_TIME = UnixMillis(1_790_000_000_000)
"""When a case is that says no time, under a policy without prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a case, and how that differs from what it expects, in sentences."""

    case: Case
    outcome: Outcome
    differences: tuple[str, ...]


@click.command("test")
@click.argument("policy_file", metavar="POLICY", type=_FILE)
@click.argument("case_files", metavar="[CASES]...", nargs=-1, type=_FILE)
@json_option
def command(policy_file: Path, case_files: tuple[Path, ...]) -> None:
    """Ask POLICY about every case in files of CASES, offline: is what it says what was meant?

    A case is a request, from its bytes, and the verdict that it must get. Without CASES they stand beside the policy:
    desk.test.yaml beside desk.yaml. Ends with 1 if a case goes another way.

    \b
    Example:
      keyvault policy test desk.yaml
    """  # noqa: D301  \b tells click to keep the lines
    policy = parse_policy(read_text(policy_file, limits.POLICY_FILE_BYTES_MAX), name=str(policy_file))
    files = case_files or (policy_file.with_name(f"{policy_file.stem}.test.yaml"),)
    results = [result for file in files for result in run_file(policy, file)]
    failed = sum(bool(result.differences) for result in results)
    emit(
        {"cases": list(map(_document, results)), "passed": len(results) - failed, "failed": failed},
        lambda: "\n".join((*_told(results), _summary(len(results), failed))),
    )
    if failed:
        click.get_current_context().exit(Exit.REFUSED)


def run_file(policy: Policy, file: Path) -> Iterator[Result]:
    """Yield the result of every case in a file; raise PolicyFileError if it is not one."""
    at = UnixMillis(policy.prices.as_of or _SOME_TIME)
    text = read_text(file, limits.CASES_FILE_BYTES_MAX)
    rules = compile_policy(policy)
    for case in parse_cases(text, name=str(file), folder=file.parent, at=at):
        yield run_case(rules, case)


def run_case(rules: CompiledPolicy, case: Case) -> Result:
    """Return what becomes of a case under a policy."""
    trial = Trial(rules)
    trial.saw(case.seen)
    for number, request in enumerate(case.earlier, start=1):
        before = trial.ask(request)
        if before.word is not Word.ALLOW:
            text = f"earlier request {number} must be allowed to count, and is not: {before.explanation}"
            return Result(case=case, outcome=before, differences=(text,))
    outcome = trial.ask(case.request)
    return Result(case=case, outcome=outcome, differences=tuple(_differences(case.expected, outcome)))


def read_text(file: Path, bytes_max: int) -> str:
    """Return what a file holds, at most one byte more than it may; raise UsageProblem if it is not UTF-8."""
    with file.open("rb") as opened:
        data = opened.read(bytes_max + 1)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{file}: is not UTF-8 at byte {error.start}") from None


def _differences(expected: Expected, outcome: Outcome) -> Iterator[str]:
    if outcome.word is not expected.word:
        yield f"expected {expected.word}, got {outcome.word}"
    yield from _difference("reason", expected.reason, outcome.reason)
    yield from _difference("rules", expected.rules, frozenset(outcome.rules))
    yield from _difference("quorums", expected.quorums, frozenset(outcome.quorums))
    yield from _difference("completeness", expected.completeness, outcome.completeness)
    if expected.facts is None:
        return
    facts = tuple(map(effect_facts, outcome.effects))
    if len(facts) != len(expected.facts):
        yield f"expected {len(expected.facts)} effects, got {len(facts)}: {_listed(facts)}"
        return
    for number, (wanted, found) in enumerate(zip(expected.facts, facts, strict=True), start=1):
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                yield f"effect {number}: expected {name} {_said(wanted.get(name))}, got {_said(found.get(name))}"


def _difference(name: str, expected: str | frozenset[str] | None, found: str | frozenset[str] | None) -> Iterator[str]:
    if expected is not None and expected != found:
        yield f"expected {name} {_said(expected)}, got {_said(found)}"


def _said(value: str | int | frozenset[str] | None) -> str:
    if isinstance(value, frozenset):
        value = ", ".join(sorted(value))
    return "none" if value in (None, "") else str(value)


def _listed(facts: Sequence[object]) -> str:
    return "; ".join(map(str, facts))


# Telling ----------------------------------------------------------------------------------------------------------


def _told(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        yield f"{'FAIL' if result.differences else 'ok  '}  {result.case.name}"
        yield from (f"      {difference}" for difference in result.differences)
        yield f"      {result.outcome.explanation}"


def _summary(number: int, failed: int) -> str:
    return f"{number} cases pass." if not failed else f"{failed} of {number} cases fail."


def _document(result: Result) -> dict[str, JsonValue]:
    outcome = result.outcome
    return {
        "name": result.case.name,
        "attack": result.case.attack,
        "line": result.case.line,
        "pass": not result.differences,
        "differences": list(result.differences),
        "verdict": outcome.word.value,
        "reason": outcome.reason,
        "rules": list(outcome.rules),
        "quorums": list(outcome.quorums),
        "explanation": outcome.explanation,
        "effects": [dict(effect_facts(effect)) for effect in outcome.effects],
    }
