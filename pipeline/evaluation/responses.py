"""Binary decisions of users, predicted before they are known: responses to what is shown, and preferences.

A score is the probability that a user's next act is on an item. Whether the user responds to the item where
it was shown, or likes it, is another question. So the probability of a yes is learned from the score, from
earlier decisions alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from pipeline.evaluation.calibration import Calibrator, Floats, Labels
from pipeline.evaluation.classification import Classification, ClassificationReport
from pipeline.state.outcomes import Outcome

LEAST_SCORE = 1e-12
"""Scores below it, and those that are no probabilities, are taken as this one."""


class ResponseQuality:
    """Figures of the predicted probability that a shown item gets a reward above 0.

    It is predicted from the item's score and place, and from answers alone whose window had passed when this
    one was shown.
    """

    def __init__(self, window: int, half_life: float | None = None) -> None:
        """Learn what came of an answer once `window` ms have passed since it was shown.

        After `half_life` items one counts half; without it all count alike.
        """
        self._window = window
        self._calibrator = Calibrator(2, half_life)
        self._figures = Classification(half_life)
        self._unlearned = deque[tuple[int, Floats, Labels]]()

    def add(self, outcome: Outcome) -> None:
        """Predict the responses to an answer as when it was shown; answers come in this order."""
        while self._unlearned and self._unlearned[0][0] + self._window < outcome.shown_at:
            self._calibrator.learn(*self._unlearned.popleft()[1:])
        scores = np.clip(outcome.impression.scores, LEAST_SCORE, 1.0)
        features = np.column_stack([np.log(scores), np.log(1 + np.arange(scores.size))])
        responses = np.array(outcome.rewards) > 0
        if self._calibrator.is_warm:
            self._figures.add(self._calibrator.predict(features), responses)
        self._unlearned.append((outcome.shown_at, features, responses))

    def report(self) -> ClassificationReport:
        """Return the figures; an item counts as predicted if a response is likelier than to the mean item."""
        return self._figures.report()


def response_quality(outcomes: Iterable[Outcome], window: int) -> ClassificationReport:
    """Return the figures of answers in any order; see `ResponseQuality`."""
    quality = ResponseQuality(window)
    for outcome in sorted(outcomes, key=lambda outcome: outcome.shown_at):
        quality.add(outcome)
    return quality.report()


class PreferenceQuality:
    """Figures of the predicted probability that an act on an item is positive, and not negative."""

    def __init__(self) -> None:
        self._calibrator = Calibrator(1)
        self._figures = Classification()

    def add(self, log_scores: Floats, positive: Labels) -> None:
        """Predict the signs of acts, by the log-scores ``[m]`` of their items, and then learn them."""
        features = log_scores[:, None]
        if self._calibrator.is_warm:
            self._figures.add(self._calibrator.predict(features), positive)
        self._calibrator.learn(features, positive)

    def report(self) -> ClassificationReport:
        """Return the figures; an act counts as predicted if it is likelier to be positive than negative."""
        return self._figures.report(threshold=0.5)
