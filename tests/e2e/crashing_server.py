"""``keyvault serve``, but for SIGKILL at one step: crashing_server STEP NTH PAUSE_MS serve --config FILE --ready-fd N.

The process kills itself when a step is taken for the NTH time, PAUSE_MS later (0: within the step itself).
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from keyvault import app, config
from keyvault.core.events import Event
from keyvault.core.state import State
from keyvault.engine.observer import Step
from keyvault.telemetry import configure_logging

ROOT = Path(__file__).resolve().parents[2]


def command(step: Step, nth: int, *, pause_ms: int = 0) -> tuple[str, ...]:
    """Return how ``tests.deployment.start_server`` starts it."""
    module = (sys.executable, "-m", "tests.e2e.crashing_server")
    return ("env", f"PYTHONPATH={ROOT}", *module, step.value, str(nth), str(pause_ms))


class Crash:
    """An observer that pulls the plug."""

    def __init__(self, step: Step, nth: int, pause_ms: int) -> None:
        self._step = step
        self._left = nth
        self._pause_s = pause_ms / 1000

    def step(self, step: Step, count: int) -> None:
        """See Observer."""
        if step is not self._step:
            return
        self._left -= count if step in {Step.DECIDED, Step.SIGNED} else 1
        if self._left == 0 and self._pause_s:
            asyncio.get_running_loop().call_later(self._pause_s, os.kill, os.getpid(), signal.SIGKILL)
        elif self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def committed(self, first: int, events: Sequence[Event], state: State, duration_s: float) -> None:
        """See Observer."""

    def token_fault(self, code: str) -> None:
        """See Observer."""


def main() -> None:
    """Serve until the crash."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", type=Step)
    parser.add_argument("nth", type=int)
    parser.add_argument("pause_ms", type=int)
    parser.add_argument("serve", choices=["serve"])
    parser.add_argument("--config", type=Path)
    parser.add_argument("--port-file")
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args()
    checked = config.load(options.config)
    configure_logging(checked.log.format, checked.log.level)

    def ready(port: int) -> None:
        with os.fdopen(options.ready_fd, "w") as reader:
            reader.write(f"{port}\n")

    observer = Crash(options.step, options.nth, options.pause_ms)
    sys.exit(uvloop.run(app.serve(checked, on_ready=ready, observer=observer)))


if __name__ == "__main__":
    main()
