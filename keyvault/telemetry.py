"""What the server tells its operators: structured logs and OpenTelemetry metrics.

Both follow the ledger and decide nothing. A log line carries no secret: what is named like one is withheld, raw bytes
are never shown, an object that does not say how it is written is named by its type only, and every value has a bound.
Metrics are counted once per committed batch, not once per signature.
"""

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import TextIO

import structlog
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, MetricReader, NumberDataPoint
from opentelemetry.sdk.resources import Resource
from structlog.typing import Processor, WrappedLogger

from keyvault.config import LogFormat, LogLevel
from keyvault.core import limits
from keyvault.core.errors import Reason
from keyvault.core.intent import PayloadKind
from keyvault.core.keys import KeyAlgorithm

WITHHELD = "[withheld]"
"""Stands in a log line for a value whose name says that it is a secret."""

_SECRET_WORDS = frozenset(
    {
        "passphrase",
        "password",
        "pin",
        "pins",
        "puk",
        "secret",
        "secrets",
        "seed",
        "mnemonic",
        "credential",
        "credentials",
    }
)
_PUBLIC_ENDINGS = ("_file", "_path")
_FORMATTERS_OWN = frozenset({"exc_info", "exception", "stack_info", "_record", "_from_structlog"})

# Logs -------------------------------------------------------------------------------------------------------


def configure_logging(log_format: LogFormat, level: LogLevel, *, stream: TextIO | None = None) -> None:
    """Send every log line of this process, other libraries' included, to ``stream``, or to standard error.

    JSON is one object a line; times are UTC. Libraries are heard from level warning on.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    renderers = _renderers(log_format, stream or sys.stderr)
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        withhold,
    ]
    structlog.configure(
        processors=[*common, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    without_record = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=[without_record, *renderers])
    )
    # Libraries speak up only when something is wrong: their debug lines may hold what they were given.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def withhold(_logger: WrappedLogger, _method: str, line: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Return the log line with secrets withheld and every value bounded; a structlog processor."""
    return {key: value if key in _FORMATTERS_OWN else _shown(key, value, 0) for key, value in line.items()}


def _shown(key: str, value: object, depth: int) -> object:
    if _is_secret(key):
        return WITHHELD
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    if isinstance(value, Enum):
        return _shown(key, value.value, depth)
    if isinstance(value, (str, PurePath, BaseException)):
        return _cut(str(value))
    if depth < limits.LOG_DEPTH_MAX and isinstance(value, Mapping):
        items = list(value.items())[: limits.LOG_ITEMS_MAX]
        return {_cut(str(name)): _shown(str(name), inner, depth + 1) for name, inner in items}
    if depth < limits.LOG_DEPTH_MAX and isinstance(value, (list, tuple, set, frozenset)):
        return [_shown(key, inner, depth + 1) for inner in list(value)[: limits.LOG_ITEMS_MAX]]
    return f"[{type(value).__name__}]"


def _is_secret(key: str) -> bool:
    name = key.lower().replace("-", "_").replace(".", "_")
    if name.endswith(_PUBLIC_ENDINGS):
        return False
    return "private_key" in name or not _SECRET_WORDS.isdisjoint(name.split("_"))


def _cut(text: str) -> str:
    if len(text) <= limits.LOG_VALUE_CHARS_MAX:
        return text
    return f"{text[: limits.LOG_VALUE_CHARS_MAX]}... [{len(text)} characters]"


def _renderers(log_format: LogFormat, stream: TextIO) -> list[Processor]:
    if log_format is LogFormat.CONSOLE:
        plain = structlog.dev.plain_traceback  # the rich one shows local variables
        colors = stream.isatty()
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, timestamp_key="at")]
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=limits.LOG_ITEMS_MAX)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


# Metrics ----------------------------------------------------------------------------------------------------

_BATCH_BOUNDARIES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECOND_BOUNDARIES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class _Tally:
    """A counter that costs a dictionary entry on the hot path and is read when a reader asks.

    OpenTelemetry's own counters take some 8 us an addition, which is a tenth of a signature.
    """

    def __init__(self, meter: Meter, name: str, unit: str, description: str) -> None:
        self._counts: dict[tuple[tuple[str, str], ...], int] = {}
        meter.create_observable_counter(name, [self._observe], unit, description)

    def add(self, count: int, *labels: tuple[str, str], otherwise: tuple[str, str] | None = None) -> None:
        """Add under these labels; under ``otherwise`` once METRIC_CODES_MAX sets of labels are known."""
        if otherwise and labels not in self._counts and len(self._counts) >= limits.METRIC_CODES_MAX:
            labels = (otherwise,)
        self._counts[labels] = self._counts.get(labels, 0) + count

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        # A copy in one step: an exporting reader asks from its own thread.
        return [Observation(count, dict(labels)) for labels, count in tuple(self._counts.items())]


class Metrics:
    """Counters and histograms of one server.

    Without readers nothing leaves the process and ``snapshot`` still tells the figures. No label comes from a caller:
    algorithm, kind and reason are closed lists, and fault codes beyond METRIC_CODES_MAX are counted as ``other``.
    """

    def __init__(self, readers: Sequence[MetricReader] = ()) -> None:
        """Count into ``readers``, which export where the operator wants, and into memory."""
        self._memory = InMemoryMetricReader()
        self._provider = MeterProvider(
            metric_readers=[self._memory, *readers],
            resource=Resource({"service.name": "keyvault"}),
            exemplar_filter=AlwaysOffExemplarFilter(),  # an exemplar costs a look-up per figure and nobody reads them
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter("keyvault")
        self._signatures = _Tally(meter, "keyvault.signatures", "{signature}", "Signatures in the ledger")
        self._refusals = _Tally(meter, "keyvault.refusals", "{refusal}", "Refusals in the ledger")
        self._faults = _Tally(meter, "keyvault.token.faults", "{fault}", "Items that the token did not sign")
        self._batch = meter.create_histogram(
            "keyvault.commit.batch",
            "{event}",
            "Events in one durable append",
            explicit_bucket_boundaries_advisory=_BATCH_BOUNDARIES,
        )
        self._duration = meter.create_histogram(
            "keyvault.commit.duration",
            "s",
            "Time of one durable append",
            explicit_bucket_boundaries_advisory=_SECOND_BOUNDARIES,
        )

    def committed(
        self,
        *,
        events: int,
        duration_s: float,
        signatures: Mapping[tuple[KeyAlgorithm, PayloadKind], int],
        refusals: Mapping[Reason, int],
    ) -> None:
        """Count one durable append of ``events`` events: what was signed, by key and payload, and what was refused."""
        self._batch.record(events)
        self._duration.record(duration_s)
        for (algorithm, kind), count in signatures.items():
            self._signatures.add(count, ("algorithm", algorithm), ("kind", kind))
        for reason, count in refusals.items():
            self._refusals.add(count, ("reason", reason))

    def token_faults(self, code: str, count: int = 1) -> None:
        """Count items that a token failed to sign with this code."""
        self._faults.add(count, ("code", code), otherwise=("code", "other"))

    def snapshot(self) -> dict[str, float]:
        """Return every figure since the start: counters by ``name{label=value,...}``, histograms as count and sum."""
        data = self._memory.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        figures: dict[str, float] = {}
        for metric in (metric for scope in scopes for metric in scope.metrics):
            for point in metric.data.data_points:
                figures.update(_figures(metric.name, point))
        return figures

    def close(self) -> None:
        """Hand the last figures to the readers and end them."""
        self._provider.shutdown()


def _figures(name: str, point: object) -> dict[str, float]:
    if isinstance(point, HistogramDataPoint):
        return {f"{name}.count": point.count, f"{name}.sum": point.sum}
    if isinstance(point, NumberDataPoint):
        labels = ",".join(f"{key}={value!s}" for key, value in sorted((point.attributes or {}).items()))
        return {f"{name}{{{labels}}}": point.value}
    return {}
