"""What is done about an alarm, and whether it was worth it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import TypedDict

from pipeline.learning.drift.alarms import DriftAlarm, RetrainRequest

REMEMBERED = 10_000
"""Alarms whose outcome is kept."""


class Action(StrEnum):
    """What an alarm leads to."""

    LOG = "log"
    RETRAIN = "retrain"


class Outcome(StrEnum):
    """What became of an alarm."""

    OPEN = "open"
    WON = "won"
    """The candidate that it asked for was promoted."""
    FALSE = "false"
    """The candidate that it asked for was no better."""


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
        if self._action is Action.LOG or not alarms or self._is_cooling(alarms[0].events):
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


class AlarmBook:
    """Outcomes by alarm: a fold of the control topic, to be filled from its beginning.

    Telling the same again changes nothing.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}

    def enter(self, alarm_key: str) -> None:
        """An alarm was raised."""
        self._outcomes.setdefault(alarm_key, Outcome.OPEN)
        if len(self._outcomes) > REMEMBERED:
            del self._outcomes[next(iter(self._outcomes))]

    def book(self, alarm_key: str, outcome: Outcome) -> None:
        """The gate has judged what the alarm asked for; alarms that are not remembered are left out."""
        if alarm_key in self._outcomes:
            self._outcomes[alarm_key] = outcome

    def counts(self) -> dict[Outcome, int]:
        """How many alarms there are of each outcome."""
        counted = Counter(self._outcomes.values())
        return {outcome: counted[outcome] for outcome in Outcome}
