"""The drift monitor: watches the learner's scores and the items acted on for changes for the worse.

The signals complement each other (simulated shop, 20 seeds). When users turn to other content,
the content signal shows it within 1,300 events, and the loss hardly does, because it recovers
as fast as it rises. When they turn to other items of the same content, only the loss shows it.
The lead over the covisitation shows neither, because both scorers suffer; it detects that the
model itself is broken. benchmarks/drift_detection.py measures delays and false alarms.

A catalogue that grows is no drift. So log-probabilities are measured above chance, and misses, for
which there is no such measure, among catalogues of about one size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import TypedDict

from pipeline.bounded import Count
from pipeline.config import DriftConfig
from pipeline.control.alarms import DriftAlarm, Signal
from pipeline.evaluation.lists import CUTOFF
from pipeline.evaluation.prequential import Scores
from pipeline.monitoring.action_budget import ActionBudget, Answer, BudgetLimits, BudgetState
from pipeline.monitoring.chance import above_chance
from pipeline.monitoring.drift.content import ContentState, ContentWatch
from pipeline.monitoring.drift.detectors import RiseDetector, RiseState

OUTGROWN = 1.25
"""Growth of the catalogue after which misses are not compared with those before.

Among a quarter more items, a share of hits of .35 falls by about .03: less than raises an alarm."""

Values = NDArray[np.float64]


class Acts(NamedTuple):
    """The catalogue rows ``[m]`` acted on in a batch, and the table of content vectors ``[n, d]``."""

    rows: NDArray[np.int64]
    content: Tensor


class DriftState(TypedDict):
    """Number of events seen, of items when misses were first compared, states of detectors and budgets."""

    events: int
    items: Count
    episodes: dict[str, BudgetState]
    rises: dict[str, RiseState]
    content: ContentState


class DriftMonitor:
    """Raises DriftAlarms, one per episode of a signal; its state depends on the batches alone."""

    def __init__(self, config: DriftConfig) -> None:
        self._config = config
        self._events = 0
        self._episodes = {signal: ActionBudget(_one_per_episode(config)) for signal in Signal}
        self.reset()

    def reset(self) -> None:
        """Reset the detectors, because another model was adopted; an episode of a signal goes on."""
        self._rises = {
            Signal.LEAD: RiseDetector(self._config.lead),
            Signal.LOSS: RiseDetector(self._config.loss),
            Signal.FIRST_OF_BASKET: RiseDetector(self._config.first_of_basket),
        }
        self._content = ContentWatch(self._config.content)
        self._items = 0

    def update(self, generation: int, step: int, scores: Scores, acts: Acts) -> list[DriftAlarm]:
        """Update with a batch; return at most one alarm per signal."""
        self._events += acts.rows.size
        if self._events <= self._config.warm_up_events:
            return []
        self._follow_growth(len(acts.content))
        changes = [*self._changes_of_scores(scores, len(acts.content)), *self._changes_of_content(acts)]
        return [
            DriftAlarm(
                signal=signal,
                generation=generation,
                step=step,
                events=self._events,
                before=before,
                after=after,
                evidence=evidence,
            )
            for signal, before, after, evidence in changes
            if self._episodes[signal].ask(self._events) is Answer.ACT
        ]

    def state(self) -> DriftState:
        """Return the whole state as plain data; later updates do not change it."""
        rises = {signal.value: detector.state() for signal, detector in self._rises.items()}
        episodes = {signal.value: budget.state() for signal, budget in self._episodes.items()}
        return {
            "events": self._events,
            "items": self._items,
            "episodes": episodes,
            "rises": rises,
            "content": self._content.state(),
        }

    def load(self, state: DriftState) -> None:
        """Restore a state returned by `state`."""
        self._events, self._items = state["events"], state["items"]
        for signal, budget in self._episodes.items():
            budget.load(state["episodes"][signal])
        for signal, detector in self._rises.items():
            detector.load(state["rises"][signal])
        self._content.load(state["content"])

    def _follow_growth(self, items: int) -> None:
        """Forget the misses among a catalogue that has been outgrown: more items have taken places since."""
        if items > OUTGROWN * self._items:
            self._items = items
            self._rises[Signal.FIRST_OF_BASKET] = RiseDetector(self._config.first_of_basket)

    def _changes_of_scores(
        self, scores: Scores, items: int
    ) -> Iterator[tuple[Signal, float, float, dict[str, float]]]:
        for signal, values in _signals(scores, items).items():
            rise = self._rises[signal].update(values)
            if rise is not None:
                blocks = {
                    "blocks_before": float(rise.blocks_before),
                    "blocks_after": float(rise.blocks_after),
                }
                yield signal, rise.before, rise.after, blocks

    def _changes_of_content(self, acts: Acts) -> Iterator[tuple[Signal, float, float, dict[str, float]]]:
        shift = self._content.update(acts.rows, acts.content)
        if shift is not None:
            yield Signal.CONTENT, 0.0, shift.index, asdict(shift)


def _one_per_episode(config: DriftConfig) -> BudgetLimits:
    return BudgetLimits(
        warm_up_events=config.warm_up_events,
        cooldown_events=0,
        in_a_row=1,
        calm_events=config.episode_events,
        renews=True,
    )


def _signals(scores: Scores, items: int) -> dict[Signal, Values]:
    """Return the finite values of each signal in order, of scores among `items`; higher is worse."""
    model, covisitation, mixture = (
        scores.by_scorer[scorer] for scorer in ("model", "covisitation", "mixture")
    )
    missed = (mixture.ranks > CUTOFF).astype(np.float64)
    values = {
        Signal.LEAD: covisitation.log_probabilities - above_chance(model, items),
        Signal.LOSS: -above_chance(mixture, items),
        Signal.FIRST_OF_BASKET: missed[scores.slices["first_of_basket"]],
    }
    return {signal: found[np.isfinite(found)] for signal, found in values.items()}
