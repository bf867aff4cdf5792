"""Who may watch the path of a signature: telemetry, and tests that pull the plug at a step."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from keyvault.core.events import Event
from keyvault.core.state import State


class Step(StrEnum):
    """Where a request is between question and answer."""

    DECIDED = "decided"
    SIGNED = "signed"
    APPENDING = "appending"
    APPENDED = "appended"
    ANSWERED = "answered"


class Observer(Protocol):
    """Told as things happen, on the event loop: must be quick and must not raise."""

    def step(self, step: Step, count: int) -> None:
        """So many requests took this step at once."""

    def committed(self, first: int, events: Sequence[Event], state: State, duration_s: float) -> None:
        """These facts, the first at index ``first``, became durable in one append and are part of the state."""

    def token_fault(self, code: str) -> None:
        """The token did not sign one item."""


class NoObserver:
    """Watches nothing."""

    def step(self, step: Step, count: int) -> None:
        """See Observer."""

    def committed(self, first: int, events: Sequence[Event], state: State, duration_s: float) -> None:
        """See Observer."""

    def token_fault(self, code: str) -> None:
        """See Observer."""
