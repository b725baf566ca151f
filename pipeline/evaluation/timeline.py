"""Quality over time: figures of one part of a run after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.evaluation.lists import Figures, computed
from pipeline.evaluation.prequential import Quality, Report, Scores
from pipeline.evaluation.regret import regret

MOST_WINDOWS = 64
"""An even number."""


@dataclass
class Window:
    """A part of a run.

    Attributes:
        batches: how many batches it has.
        events: how many interactions.
        seconds: how long they took.
        quality: of their targets.
        lists: figures of the lists at its end; empty if there were too few.
    """

    batches: int = 0
    events: int = 0
    seconds: float = 0.0
    quality: Quality = field(default_factory=Quality)
    lists: Figures = field(default_factory=dict)

    def merge(self, later: Window) -> Window:
        """Add what came after it; return itself."""
        self.lists = later.lists
        self.batches += later.batches
        self.events += later.events
        self.seconds += later.seconds
        self.quality.merge(later.quality)
        return self


class Timeline:
    """A run in windows of equally many batches, but for the last one.

    There are at most `MOST_WINDOWS`, however long the run is: where there would be more, pairs are merged.
    """

    def __init__(self) -> None:
        self._windows: list[Window] = []  # the last one may be narrower than the others
        self._width = 1

    def add(self, scores: Scores, events: int, seconds: float, lists: Figures) -> None:
        """Add a batch, and the figures of the lists until its end."""
        if not self._windows or self._windows[-1].batches == self._width:
            self._begin_window()
        added = Window(1, events, seconds, lists=lists)
        added.quality.add(scores)
        self._windows[-1].merge(added)

    def _begin_window(self) -> None:
        if len(self._windows) == MOST_WINDOWS:
            pairs = zip(self._windows[::2], self._windows[1::2], strict=True)
            self._windows = [first.merge(second) for first, second in pairs]
            self._width *= 2
        self._windows.append(Window())

    @property
    def windows(self) -> list[Window]:
        """The windows; what is less than half of one at the end is a part of the one before."""
        *whole, last = self._windows or [Window()]
        if not whole or 2 * last.events >= whole[-1].events:
            return self._windows
        return [*whole[:-1], Window().merge(whole[-1]).merge(last)]

    def so_far(self) -> Iterator[Window]:
        """Yield for each window all that was until its end: one window that grows, not to be changed."""
        total = Window()
        for window in self.windows:
            yield total.merge(window)

    def total(self) -> Window:
        """Return the whole run as one window."""
        total = Window()
        for window in self._windows:
            total.merge(window)
        return total

    def to_json(self) -> list[dict[str, object]]:
        """Convert to JSON; regret is the sum over all targets until the window's end."""
        return [
            {
                "until": until.events,
                "events": window.events,
                "seconds": round(window.seconds, 3),
                "quality": window.quality.report(),
                "lists": computed(window.lists),
                "total_regret": total_regret(until.quality.report()),
            }
            for window, until in zip(self.windows, self.so_far(), strict=True)
        ]


def total_regret(quality: Report) -> dict[str, dict[str, float]]:
    """Compute the sum of the regret over all targets, by slice and figure."""
    return {
        name: {figure: one.value * (quality["mixture"][name]["n"] or 0) for figure, one in by_figure.items()}
        for name, by_figure in regret(quality).items()
    }
