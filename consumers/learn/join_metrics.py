"""Metrics of what came of what was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import get_args

from pipeline import metrics
from pipeline.config.policy import PolicyName
from pipeline.evaluation.responses import ResponseQuality
from pipeline.policy.arms import CONTROL
from pipeline.state.join_state import ShownImpression
from pipeline.state.outcomes import Outcome, reciprocal_place
from pipeline.state.stream import StreamState
from pipeline.value.learners import Skipped, ValueLearners

HALF_LIFE = 100_000.0
"""In shown items, of which few get a response, of the figures of responses."""
MEASURED = 16
"""Outcomes of a batch, spread over it, whose responses are measured: each costs as much as to join it."""
POLICIES = frozenset(get_args(PolicyName))
OTHER, NONE = "other", "none"
"""An arm or policy that is not in the settings, or that the impression does not name: labels stay bounded."""


class JoinMetrics:
    """Counts outcomes by policy and arm, and what was not joined.

    The click-through rate is the share of outcomes with a reward above 0; how high in the list the first such
    item stood is an arm's quality (mean reciprocal rank). How well scores predict the
    responses to shown items is measured on those of this process.
    """

    def __init__(self, arms: Collection[str], window: int) -> None:
        """Count for the arms of the settings; what came of an answer is known `window` ms after it."""
        self._arms = {CONTROL, *arms}
        self._responses = ResponseQuality(window, HALF_LIFE)
        self._skipped: Counter[Skipped] = Counter()

    def add(self, stream: StreamState, values: ValueLearners) -> None:
        """Add what the last batch has closed, and what was learned of it."""
        self._add_outcomes(stream.closed)
        if stream.closed:
            self._measure_responses(stream.closed)
        for reason, count in stream.left.items():
            metrics.LEFTOVERS.labels(reason.value).inc(count)
        metrics.OPEN_IMPRESSIONS.set(stream.outcomes.open)
        self._add_values(values)

    def _add_values(self, values: ValueLearners) -> None:
        for name, learned in values.decisions.items():
            metrics.VALUED.labels(name).set(learned)
        for skipped, count in (values.skipped - self._skipped).items():
            metrics.UNVALUED.labels(skipped.value).inc(count)
        self._skipped = values.skipped.copy()

    def _measure_responses(self, closed: Sequence[ShownImpression]) -> None:
        for outcome in closed[:: -(-len(closed) // MEASURED)]:
            self._responses.add(Outcome.of(outcome))
        for figure, value in asdict(self._responses.report()).items():
            if value is not None:
                metrics.RESPONSE_QUALITY.labels(figure).set(value)

    def _add_outcomes(self, closed: Iterable[ShownImpression]) -> None:
        for outcome in closed:
            shown, reward = outcome.fields, sum(outcome.rewards)
            labels = _known(shown["policy"], POLICIES), _known(shown["arm"], self._arms)
            metrics.OUTCOMES.labels(*labels).inc()
            metrics.REWARDED.labels(*labels).inc(reward > 0)
            metrics.RECIPROCAL_PLACES.labels(*labels).inc(reciprocal_place(outcome.rewards))
            metrics.REWARDS.labels(*labels).inc(max(reward, 0.0))
            metrics.PENALTIES.labels(*labels).inc(max(-reward, 0.0))


def _known(name: str | None, names: Collection[str]) -> str:
    """Return a name of the settings, or what stands for all others."""
    return NONE if name is None else name if name in names else OTHER
