"""The rule for automatic actions: warm-up, cooldown, and a budget that only a person renews.

An automatic action that does not help is asked for again, and again. So every one of them (a
rollback, a request for a retrain, an alarm, a warning) goes through a budget of its own:

1. Nothing is done during the warm-up, because a young model changes by leaps.
2. Nothing is done within the cooldown after an action, because its effect is not yet visible.
3. Actions whose cause comes back are a row. A cause that stays away for `calm_events`, or an
   action that is known to have helped, ends the row.
4. After `in_a_row` actions the budget is spent. That is answered once, so that it can be
   reported; after that nothing is done until a person acts. A budget that `renews` needs no
   person: its row ends with the cause.

Time is a number of events that never decreases, so a learner that recovers decides the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Self

from typing_extensions import TypedDict

from pipeline.config import DriftConfig, GuardConfig


class Answer(Enum):
    """What may be done now about the cause of an action."""

    ACT = "act"
    WAIT = "wait"
    SPENT = "spent"
    """Nothing, and from now on until a person acts; answered once."""


@dataclass(frozen=True)
class BudgetLimits:
    """The limits of one kind of action, in events except `in_a_row`.

    Attributes:
        warm_up_events: before the first action.
        cooldown_events: between two actions.
        in_a_row: actions whose cause came back each time.
        calm_events: without the cause, after which the next action begins another row.
        renews: whether calm renews a spent budget too; else only a person does.
    """

    warm_up_events: int
    cooldown_events: int
    in_a_row: int
    calm_events: int
    renews: bool = False

    @classmethod
    def of(cls, config: DriftConfig | GuardConfig) -> Self:
        """Return the limits that a section of the settings has."""
        return cls(config.warm_up_events, config.cooldown_events, config.in_a_row, config.calm_events)


class BudgetState(TypedDict):
    """Events at the last cause and at the last action (None if there was none), and the row."""

    wanted_at: int | None
    acted_at: int | None
    row: int
    spent: bool


class ActionBudget:
    """Decides whether one kind of automatic action may be taken; its state can be saved.

    >>> budget = ActionBudget(BudgetLimits(100, cooldown_events=50, in_a_row=2, calm_events=1_000))
    >>> [budget.ask(events).value for events in (90, 100, 149, 150, 200, 250)]
    ['wait', 'act', 'wait', 'act', 'spent', 'wait']
    >>> budget.renew()
    >>> budget.ask(251).value
    'act'
    """

    def __init__(self, limits: BudgetLimits) -> None:
        self._limits = limits
        self._wanted_at: int | None = None
        self._acted_at: int | None = None
        self._row = 0
        self._spent = False

    @property
    def is_spent(self) -> bool:
        """Whether nothing is done until a person acts."""
        return self._spent

    @property
    def row(self) -> int:
        """Number of actions in the present row."""
        return self._row

    def ask(self, events: int) -> Answer:
        """Ask for an action because its cause is there after this many events."""
        if events < self._limits.warm_up_events:
            return Answer.WAIT
        if self._is_past(self._wanted_at, self._limits.calm_events, events):
            self._end_row()
        self._wanted_at = events
        if self._spent or not self._is_past(self._acted_at, self._limits.cooldown_events, events):
            return Answer.WAIT
        if self._row >= self._limits.in_a_row:
            self._spent = True
            return Answer.SPENT
        self._row, self._acted_at = self._row + 1, events
        return Answer.ACT

    def helped(self) -> None:
        """Note that the last action is known to have helped; a spent budget stays spent."""
        if not self._spent:
            self._row = 0

    def renew(self) -> None:
        """Renew the budget, because a person acted; the cooldown ends too."""
        self._acted_at, self._row, self._spent = None, 0, False

    def state(self) -> BudgetState:
        """Return the whole state as plain data."""
        return {
            "wanted_at": self._wanted_at,
            "acted_at": self._acted_at,
            "row": self._row,
            "spent": self._spent,
        }

    def load(self, state: BudgetState) -> None:
        """Restore a state returned by `state`."""
        self._wanted_at, self._acted_at = state["wanted_at"], state["acted_at"]
        self._row, self._spent = state["row"], state["spent"]

    def _end_row(self) -> None:
        if self._limits.renews or not self._spent:
            self._row, self._spent = 0, False

    @staticmethod
    def _is_past(since: int | None, span: int, events: int) -> bool:
        return since is None or events - since >= span
