"""Metrics of what acts say of their items; that none says anything good is logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline import metrics
from pipeline.config import SignalsConfig
from pipeline.events import Interaction
from pipeline.ratings.scale import PositiveActs

log = logging.getLogger(__name__)


class SignalMetrics:
    """Counts acts by sign; warns once if none of the first ones is positive."""

    def __init__(self, config: SignalsConfig) -> None:
        self._acts, self._has_warned = PositiveActs(config), False

    def add(self, events: Sequence[Interaction]) -> None:
        """Add a batch."""
        acts = self._acts
        before = acts.n, acts.positive, acts.negative
        acts.add(events)
        added, good, bad = acts.n - before[0], acts.positive - before[1], acts.negative - before[2]
        for sign, count in {"positive": good, "negative": bad, "none": added - good - bad}.items():
            metrics.SIGNS.labels(sign).inc(count)
        warning = acts.warning(metrics.ENOUGH_ACTS)
        if warning and not self._has_warned:
            log.warning("%s", warning)
        self._has_warned = warning is not None
