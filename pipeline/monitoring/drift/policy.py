"""What is done about an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from pipeline.config import Action
from pipeline.control.alarms import DriftAlarm, RetrainRequest


class PolicyState(TypedDict):
    """Events seen at the last request; None before the first."""

    requested_at: int | None


class DriftPolicy:
    """Asks for a retrain when alarms are raised, but not again before so many events have passed.

    One drift moves several signals, and moves them for a while; the cooldown keeps that one
    request. Decisions follow from the alarms alone, never from outcomes: those come from
    outside the journal, and a learner that learns again must decide again the same.
    """

    def __init__(self, action: Action, cooldown: int) -> None:
        self._action = action
        self._cooldown = cooldown
        self._requested_at: int | None = None

    def decide(self, alarms: Sequence[DriftAlarm]) -> RetrainRequest | None:
        """The request that the alarms of one batch lead to, if any; it names the first of them."""
        if self._action == "log" or not alarms or self._is_cooling(alarms[0].events):
            return None
        self._requested_at = alarms[0].events
        return RetrainRequest(alarm=alarms[0])

    def state(self) -> PolicyState:
        """Everything, as plain data."""
        return {"requested_at": self._requested_at}

    def load(self, state: PolicyState) -> None:
        """Take over what `state` gave."""
        self._requested_at = state["requested_at"]

    def _is_cooling(self, events: int) -> bool:
        return self._requested_at is not None and events - self._requested_at < self._cooldown
