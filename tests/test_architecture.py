"""The rules of the house that a tool can hold: layers, purity, sizes, generated code, reasons, the lock."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400
BOUNDS = Path("keyvault/core/limits.py")

PURE_CALLS = re.compile(r"(^|\.)(open|print|input|exec|eval|__import__|now|utcnow|today|urandom)$")
"""What pure code could call without an import that import-linter would see."""

TOP_LEVEL = frozenset(
    {
        ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "helm", "keyvault", "protos",
        "pyproject.toml", "requirements.lock", "softhsm", "tests",
    }
)  # fmt: skip
NEEDED = frozenset({"keyvault/py.typed", "LICENSE", "Makefile", "pyproject.toml", "requirements.lock", ".ci/run"})

REASONLESS = (
    # The reason stands behind the codes, on the same line.
    re.compile(r"#\s*noqa(?!:\s*[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*\s+.*[a-z]{3})"),
    re.compile(r"#\s*type:\s*ignore(?!\[[a-z-]+(?:,\s*[a-z-]+)*\]\s+#.*[a-z]{3})"),
    re.compile(r"#\s*pragma:(?!\s*no (?:cover|branch)\s+.*[a-z]{3})"),
    re.compile(r"#\s*ruff:(?!\s*noqa:\s*[A-Z]+[0-9]+\s+.*[a-z]{3})"),
    re.compile(r"#\s*mypy:(?!\s*\S+\s+#.*[a-z]{3})"),
)
OPEN_TASK = re.compile("|".join(rf"\b{word}\b" for word in ("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")))


def tracked() -> list[Path]:
    """Return every file that is in the tree or about to be, relative to the root."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Path(name) for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def sources(*folders: str) -> list[Path]:
    """Return our own Python files in these folders, without generated ones."""
    files = (path for path in tracked() if path.suffix == ".py" and path.parts[0] in folders)
    return [path for path in files if path.parts[:2] != ("keyvault", "v1")]


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_layers_hold() -> None:
    """Dependencies point one way, the core is pure, and each power has one door (contracts in pyproject.toml)."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_broken_layers_are_seen(tmp_path: Path) -> None:
    """The contracts are not empty words: a core that reads the clock and knows the token is refused by name."""
    (tmp_path / "pyproject.toml").write_text(read(Path("pyproject.toml")))
    for path in sources("keyvault"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "keyvault/v1").mkdir()
    (tmp_path / "keyvault/v1/__init__.py").touch()
    (tmp_path / "keyvault/core/decide.py").write_text("import time\nimport keyvault.hsm\n")
    (tmp_path / "keyvault/engine/sequencer.py").write_text("import pkcs11\nimport apsw\nimport hvac\n")
    (tmp_path / "keyvault/client/__init__.py").write_text("import keyvault.engine\n")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": "."})
    assert done.returncode != 0
    wanted = {
        "keyvault.core.decide -> time (l.1)",
        "keyvault.core.decide -> keyvault.hsm (l.2)",
        "keyvault.engine.sequencer -> pkcs11 (l.1)",
        "keyvault.engine.sequencer -> apsw (l.2)",
        "keyvault.engine.sequencer -> hvac (l.3)",
        "keyvault.client -> keyvault.engine (l.1)",
    }
    assert {line for line in wanted if line not in done.stdout} == set()


def test_pure_code_calls_nothing_impure() -> None:
    """No pure module opens a file, prints, evaluates text, or asks the clock of `datetime`."""
    shell = {Path("keyvault/ledger/archive.py"), Path("keyvault/ledger/__main__.py")}
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node.func)}"
        for path in sources("keyvault")
        if path.parts[1] in {"core", "intents", "ledger", "risk"} and path not in shell
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.Call) and PURE_CALLS.search(ast.unparse(node.func))
    ]
    # Not Python's eval: a CEL expression, typed and compiled before, over the facts that are given to it.
    assert [
        each for each in found if not re.fullmatch(r"keyvault/core/policy_cel\.py:\d+: self\.expression\.eval", each)
    ] == []


def test_no_assert_in_product_code() -> None:
    """Product code raises named errors: `python -O` must not remove a check."""
    found = [
        f"{path}:{node.lineno}"
        for path in sources("keyvault")
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.Assert | ast.Global)
    ]
    assert found == []


def test_functions_are_short() -> None:
    """No function is longer than one screen."""
    found = [
        f"{path}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in sources("keyvault", "tests")
        for node in functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert found == []


def test_files_are_short() -> None:
    """No file of ours is longer than can be read at one sitting, but for the bounds: I9 wants them in one file."""
    lengths = {path: len(read(path).splitlines()) for path in sources("keyvault", "tests") if path != BOUNDS}
    assert {str(path): length for path, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_every_test_is_a_sentence() -> None:
    """Each test says in its docstring what holds, and none is skipped or expected to fail."""
    tests = [(path, node) for path in sources("tests") for node in functions(path) if node.name.startswith("test_")]
    silent = [f"{path}:{node.lineno}: {node.name}" for path, node in tests if not ast.get_docstring(node)]
    skipping = re.compile(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b|unittest\.mock")
    this = Path(__file__).relative_to(ROOT)
    evading = [str(path) for path in sources("tests") if path != this and skipping.search(read(path))]
    assert (silent, evading) == ([], [])


def test_silenced_checks_have_a_reason() -> None:
    """Whoever silences a check says why, on that line, and names the check."""
    this = Path(__file__).relative_to(ROOT)
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in sources("keyvault", "tests", "softhsm")
        if path != this
        for number, line in enumerate(read(path).splitlines(), 1)
        if any(pattern.search(line) for pattern in REASONLESS)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "reasoned"),
    [
        ("x = 1  # noqa: S101  the lock is ours", True),
        ("x = 1  # noqa: S101, E501  the lock is ours", True),
        ("x = 1  # noqa: S101", False),
        ("x = 1  # noqa", False),
        ("x = 1  # type: ignore[arg-type]  # the stub is wrong", True),
        ("x = 1  # type: ignore[arg-type]", False),
        ("x = 1  # type: ignore", False),
        ("x = 1  # pragma: no cover  only where /proc is missing", True),
        ("x = 1  # pragma: no cover", False),
    ],
)
def test_reasons_are_recognised(line: str, *, reasoned: bool) -> None:
    """The check above knows a reason when it sees one, and misses none."""
    assert any(pattern.search(line) for pattern in REASONLESS) is not reasoned


def test_configured_exceptions_have_a_reason() -> None:
    """Every lint rule that is switched off, and every warning that is let through, has its reason on its line."""
    text = read(Path("pyproject.toml"))
    rules = [line for line in text.splitlines() if re.match(r'\s+"[A-Z]{1,6}[0-9]*",', line)]
    ignored = [line for line in text.splitlines() if re.match(r'\s+"ignore:', line)]
    switch = re.compile(r"ignore_errors|ignore_missing_imports|follow_untyped_imports")
    switches = [line for line in text.splitlines() if switch.match(line)]
    assert len(rules) > 10
    assert [line for line in rules + ignored + switches if not re.search(r"#\s+\S.{5}", line)] == []


def test_no_open_tasks() -> None:
    """What is not done is an issue, not a comment."""
    texts = (path for path in tracked() if path.suffix not in {".lock", ".pyi"} and path.parts[0] != ".git")
    found = [str(path) for path in texts if OPEN_TASK.search((ROOT / path).read_text("utf-8", "replace"))]
    assert found == []


def test_top_level_is_fixed() -> None:
    """The top level holds what design.md names and nothing else, and what every user of the package needs is there."""
    names = {path.parts[0] for path in tracked()}
    assert names - TOP_LEVEL == set()
    assert {name for name in NEEDED if not (ROOT / name).is_file()} == set()


def test_ci_is_what_everybody_runs() -> None:
    """Continuous integration runs `make test` and nothing that a desk does not run."""
    commands = [line for line in read(Path(".ci/run")).splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_generated_code_is_current(tmp_path: Path) -> None:
    """keyvault/v1 is what protos/ says, byte for byte, with its typed stubs."""
    protos = ROOT / "protos"
    names = sorted(str(path.relative_to(protos)) for path in protos.glob("keyvault/v1/*.proto"))
    outs = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python")]
    outs += [f"--{kind}_out=quiet:{tmp_path}" for kind in ("mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outs, *names]
    environment = {"PATH": str(Path(sys.executable).parent)}
    subprocess.run(command, cwd=protos, env=environment, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "keyvault/v1").iterdir()}
    held = {path.name: path.read_text() for path in (ROOT / "keyvault/v1").glob("*_pb2*.py*")}
    assert names
    assert sorted(made) == sorted(held)
    assert [name for name, text in made.items() if held[name] != text] == []


def test_lock_is_hashed_and_names_no_index() -> None:
    """Every package in the lock is pinned to a version and to hashes, and no line says where to get it."""
    text = read(Path("requirements.lock"))
    assert re.findall(r"(?i)https?:|--(?:extra-)?index|--find-links|file:|@ ", text) == []
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    assert entries.pop(0).strip() == ""
    unpinned = [entry.split("\n")[0] for entry in entries if not re.match(r"[A-Za-z0-9._-]+==[^\s;]+ ", entry)]
    unhashed = [entry.split("\n")[0] for entry in entries if "--hash=sha256:" not in entry]
    assert (unpinned, unhashed) == ([], [])


def test_lock_covers_every_dependency() -> None:
    """Whatever pyproject.toml asks for, the build backend included, is in the lock."""
    project = tomllib.loads(read(Path("pyproject.toml")))
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    wanted += project["build-system"]["requires"]
    locked = set(re.findall(r"(?m)^([a-z0-9.-]+)==", read(Path("requirements.lock"))))
    names = {re.split(r"[\[<>=!~ ]", entry)[0].lower().replace("_", "-") for entry in wanted}
    assert names - locked == set()
