"""Logs that carry no secret, and metrics that count what was committed."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from keyvault.config import LogFormat, LogLevel
from keyvault.core.errors import Reason
from keyvault.core.intent import PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.telemetry import WITHHELD, Metrics, configure_logging, withhold

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Give a stream to log into, and put the process-wide logging back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    """Return the JSON lines that were logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line(stream: io.StringIO) -> None:
    """A line is one JSON object with its time in UTC, level, event and fields."""
    configure_logging(LogFormat.JSON, LogLevel.INFO, stream=stream)
    structlog.get_logger().info("key created", key="eth-1", version=1, path=Path("/x"))
    (line,) = lines_of(stream)
    assert str(line.pop("at")).endswith("Z")
    assert line == {"event": "key created", "level": "info", "key": "eth-1", "version": 1, "path": "/x"}


def test_level_holds(stream: io.StringIO) -> None:
    """Lines below the level are not written; libraries are heard from level warning on, in the same form."""
    configure_logging(LogFormat.JSON, LogLevel.INFO, stream=stream)
    structlog.get_logger().debug("quiet")
    logging.getLogger("library").info("quiet")
    logging.getLogger("library").warning("disk is %d%% full", 99)
    (line,) = lines_of(stream)
    assert (line["event"], line["level"]) == ("disk is 99% full", "warning")


def test_console_lines(stream: io.StringIO) -> None:
    """The console form is for people, without colours where there is no terminal, and withholds the same."""
    configure_logging(LogFormat.CONSOLE, LogLevel.DEBUG, stream=stream)
    structlog.get_logger().debug("token opened", label="hot", pin="1234")
    text = stream.getvalue()
    assert "token opened" in text
    assert "label=hot" in text
    assert "1234" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("log_format", LogFormat)
def test_tracebacks_show_no_variables(stream: io.StringIO, log_format: LogFormat) -> None:
    """A traceback names lines and the error, and never the values of local variables."""
    configure_logging(log_format, LogLevel.INFO, stream=stream)
    hidden = f"local-{7 * 6}"
    try:
        int("not" + hidden[:0])
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed too")
    text = stream.getvalue()
    assert text.count("invalid literal") >= 2
    assert hidden not in text


SECRET_NAMES = [
    "pin", "PIN", "token_pin", "so-pin", "secret", "client.secret", "hmac_secret", "password", "passphrase", "seed",
    "private_key", "private_key_pem", "server_private_key", "mnemonic",
]  # fmt: skip


@given(name=st.sampled_from(SECRET_NAMES), value=st.text(min_size=1) | st.binary(min_size=1) | st.integers())
def test_secrets_are_withheld(name: str, value: object) -> None:
    """Whatever is named like a secret is withheld, at any depth."""
    assert withhold(None, "info", {name: value}) == {name: WITHHELD}
    assert withhold(None, "info", {"token": {name: value}}) == {"token": {name: WITHHELD}}
    assert withhold(None, "info", {"tokens": [{name: value}]}) == {"tokens": [{name: WITHHELD}]}


def test_public_names_are_shown() -> None:
    """Words that only contain a secret's name, and paths of secret files, are shown."""
    line: dict[str, object] = {
        "spinning": 1,
        "pin_file": "token/pin",
        "private_key_path": "a",
        "key": "k",
        "public_key": "0x",
    }
    assert withhold(None, "info", dict(line)) == line


class Colour(StrEnum):
    """An enum as product code has them."""

    RED = "red"


class Opaque:
    """An object that must not be asked what it is."""

    def __repr__(self) -> str:
        raise AssertionError


def test_values_are_bounded_and_plain() -> None:
    """Long text is cut with its length said, bytes and unknown objects are named, containers have a bound."""
    line: dict[str, object] = {
        "text": "x" * 5_000,
        "raw": b"\x01\x02",
        "colour": Colour.RED,
        "error": ValueError("wrong"),
        "object": Opaque(),
        "many": list(range(100)),
        "deep": {"a": {"b": {"c": {"d": 1}}}},
        "none": None,
    }
    shown = withhold(None, "info", line)
    assert shown["text"] == "x" * 1_000 + "... [5000 characters]"
    assert shown["raw"] == "[2 bytes]"
    assert shown["colour"] == "red"
    assert shown["error"] == "wrong"
    assert shown["object"] == "[Opaque]"
    assert shown["many"] == list(range(32))
    assert shown["deep"] == {"a": {"b": {"c": "[dict]"}}}
    assert shown["none"] is None


def test_logs_go_to_standard_error() -> None:
    """Without a stream the lines go to standard error: standard output is for answers."""
    program = (
        "import structlog; from keyvault.config import LogFormat, LogLevel;"
        "from keyvault.telemetry import configure_logging;"
        "configure_logging(LogFormat.JSON, LogLevel.INFO); structlog.get_logger().info('ready')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "ready"


def test_metrics_count_commits() -> None:
    """Signatures, refusals and batches add up under closed labels, in memory and in the operator's own reader."""
    reader = InMemoryMetricReader()
    metrics = Metrics([reader])
    signed = {(KeyAlgorithm.P256, PayloadKind.RAW_DIGEST): 3}
    metrics.committed(events=4, duration_s=0.25, signatures=signed, refusals={Reason.LIMIT_EXCEEDED: 1})
    metrics.committed(events=3, duration_s=0.5, signatures=signed, refusals={})
    assert metrics.snapshot() == {
        "keyvault.signatures{algorithm=P256,kind=raw-digest}": 6,
        "keyvault.refusals{reason=LIMIT_EXCEEDED}": 1,
        "keyvault.commit.batch.count": 2,
        "keyvault.commit.batch.sum": 7,
        "keyvault.commit.duration.count": 2,
        "keyvault.commit.duration.sum": 0.75,
    }
    exported = reader.get_metrics_data()
    assert exported is not None
    assert exported.resource_metrics[0].resource.attributes["service.name"] == "keyvault"
    metrics.close()


def test_fault_codes_are_bounded() -> None:
    """However many codes a token invents, only the first METRIC_CODES_MAX are kept apart and none is lost."""
    metrics = Metrics()
    for code in range(100):
        metrics.token_faults(f"CODE_{code}", 2)
    metrics.token_faults("CODE_0")
    figures = metrics.snapshot()
    assert len(figures) == 65
    assert figures["keyvault.token.faults{code=CODE_0}"] == 3
    assert figures["keyvault.token.faults{code=other}"] == 72
    assert sum(figures.values()) == 201


def test_empty_metrics() -> None:
    """Before anything happened there are no figures."""
    assert Metrics().snapshot() == {}
