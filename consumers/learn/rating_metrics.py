"""Metrics of predicted ratings, and of ratings that are beyond the scale of the settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline import metrics
from pipeline.config import RatingsConfig
from pipeline.evaluation.ratings import RatingQuality
from pipeline.events import Interaction
from pipeline.ratings.learner import RatingErrors
from pipeline.ratings.scale import RatingScale

log = logging.getLogger(__name__)


class RatingMetrics:
    """Running errors of predicted ratings; ratings beyond the scale are counted, and logged once."""

    def __init__(self, config: RatingsConfig, half_life: float) -> None:
        """After `half_life` ratings one counts half in the errors."""
        self._quality, self._scale = RatingQuality(half_life), RatingScale(config)

    def add(self, events: Sequence[Interaction], errors: RatingErrors) -> None:
        """Add a batch and the errors of its ratings."""
        self._quality.add(*errors)
        for name, report in self._quality.report().items():
            for figure, value in report._asdict().items():
                if value is not None:
                    metrics.RATING_QUALITY.labels(name, figure).set(value)
        was_well, beyond = not self._scale.beyond, self._scale.add(events)
        metrics.RATINGS_BEYOND_SCALE.inc(beyond)
        if beyond and was_well:
            warning = self._scale.warning(metrics.ENOUGH_ACTS)
            log.warning("%s (said once; millstream_ratings_beyond_scale_total)", warning)
