"""The drift policy: decide whether alarms lead to a retrain."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from pipeline.config import Action
from pipeline.control.alarms import DriftAlarm, RetrainRequest


class PolicyState(TypedDict):
    """Number of events at the last request; None before the first."""

    requested_at: int | None


class DriftPolicy:
    """Requests a retrain when alarms are raised, at most once per `cooldown` events.

    One drift moves several signals for a while; the cooldown reduces this to one request.
    Decisions depend on the alarms alone, never on outcomes of retrains, because those are not in
    the journal and a recovering learner must decide the same.
    """

    def __init__(self, action: Action, cooldown: int) -> None:
        self._action = action
        self._cooldown = cooldown
        self._requested_at: int | None = None

    def decide(self, alarms: Sequence[DriftAlarm]) -> RetrainRequest | None:
        """Return the request for the alarms of one batch, if any; it names the first alarm."""
        if self._action == "log" or not alarms or self._is_cooling(alarms[0].events):
            return None
        self._requested_at = alarms[0].events
        return RetrainRequest(alarm=alarms[0])

    def state(self) -> PolicyState:
        """Return the whole state as plain data."""
        return {"requested_at": self._requested_at}

    def load(self, state: PolicyState) -> None:
        """Restore a state returned by `state`."""
        self._requested_at = state["requested_at"]

    def _is_cooling(self, events: int) -> bool:
        return self._requested_at is not None and events - self._requested_at < self._cooldown
