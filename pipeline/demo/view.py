"""Output of the demo: a live panel while it runs, and a summary at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from pipeline.demo.shoppers import Shopper
from pipeline.metrics import Series, quantiles, value_of
from pipeline.reports.quality import quality_table

SERVED = "millstream_appended_to_served_seconds"
STAGES = {
    "learned": "millstream_appended_to_learned_seconds",
    "published": "millstream_appended_to_published_seconds",
    "served": SERVED,
}
SCORERS = ("model", "covisitation", "popularity", "mixture")


@dataclass
class Figures:
    """The latest figures of the daemons.

    Attributes:
        limit: number of interactions to play.
        busy_before: seconds that the learner spent on the catalogue.
        card: the server's response about its model.
        learner, server: the last scraped metrics.
    """

    limit: int
    busy_before: float = 0.0
    card: dict[str, Any] = field(default_factory=dict)
    learner: Series = field(default_factory=dict)
    server: Series = field(default_factory=dict)
    _began: float | None = None
    _ended: float = 0.0

    def update(self, learner: Series, server: Series) -> bool:
        """Store new metrics; return whether more was learned or served."""
        before = (self.learned, self.served)
        self.learner, self.server = learner, server
        moved = (self.learned, self.served) != before
        if self.learned and self._began is None:
            self._began = time.monotonic()
        if moved:
            self._ended = time.monotonic()
        return moved

    @property
    def learned(self) -> int:
        """Number of interactions learned."""
        return int(value_of(self.learner, "millstream_events_total", daemon="learn"))

    @property
    def served(self) -> int:
        """Number of interactions that the served weights have learned."""
        return int((self.card.get("card") or {}).get("events", 0))

    @property
    def settled(self) -> bool:
        """Whether the served weights have learned every played interaction."""
        return self.learned >= self.limit and self.served >= self.limit

    @property
    def events_per_second(self) -> float:
        """Interactions learned per second, from the first one learned to the last one served."""
        return (
            self.learned / (self._ended - self._began) if self._began and self._ended > self._began else 0.0
        )

    @property
    def capacity(self) -> float:
        """Interactions per second that the learner could learn if it never had to wait."""
        seconds = busy_seconds(self.learner) - self.busy_before
        return self.learned / seconds if seconds else 0.0

    def freshness(self, stage: str) -> tuple[float | None, float | None]:
        """Return p50 and p95 of the seconds from append until a stage of `STAGES`."""
        p50, p95 = quantiles(self.server if stage == "served" else self.learner, STAGES[stage], (0.5, 0.95))
        return p50, p95

    def report(self, dataset: str) -> dict[str, object]:
        """Return the figures in a form for JSON."""
        p50, p95 = self.freshness("served")
        return {
            "dataset": dataset,
            "events": self.learned,
            "events_per_second": round(self.events_per_second, 1),
            "learner_capacity_events_per_second": round(self.capacity, 1),
            "freshness_seconds": {"p50": p50, "p95": p95},
            "quality": (self.card.get("card") or {}).get("quality", {}),
        }


def busy_seconds(learner: Series) -> float:
    """Return the seconds that a learner spent on batches."""
    return value_of(learner, "millstream_batch_seconds_sum")


def view(figures: Figures) -> RenderableType:
    """Render the live panel."""
    bar = ProgressBar(total=figures.limit, completed=figures.learned, width=60)
    progress = Table.grid(padding=(0, 2))
    progress.add_row("learned", f"{figures.learned:,} of {figures.limit:,} interactions", bar)
    progress.add_row(
        "served", f"{figures.served:,}, weights {(figures.card.get('card') or {}).get('version', '–')}"
    )
    progress.add_row("stale", f"{figures.card.get('staleness_seconds', 0.0):.1f} s")
    return Panel(
        Group(progress, Columns([_freshness_table(figures), _recent_table(figures)])), title="millstream"
    )


def summary(figures: Figures, people: list[Shopper], answers: dict[str, list[str]]) -> RenderableType:
    """Render the summary: quality, freshness, speed, and sample recommendations."""
    quality = (figures.card.get("card") or {}).get("quality", {})
    speed = (
        f"{figures.events_per_second:,.0f} events/s played, learned and served; "
        f"the learner alone could learn {figures.capacity:,.0f}/s"
    )
    return Group(
        quality_table(quality),
        _freshness_table(figures),
        speed,
        *(_person(p, answers[p.user]) for p in people),
    )


def _freshness_table(figures: Figures) -> Table:
    table = Table(title="seconds since append", title_justify="left")
    for heading in ("until", "p50", "p95"):
        table.add_column(heading)
    for stage in STAGES:
        table.add_row(
            stage, *(f"{value:.2f}" if value is not None else "–" for value in figures.freshness(stage))
        )
    return table


def _recent_table(figures: Figures) -> Table:
    table = Table(title="HR@20, recent events", title_justify="left")
    for heading in ("scorer", "all", "first of basket", "cold"):
        table.add_column(heading)
    for scorer in SCORERS:
        values = (
            value_of(
                figures.learner, "millstream_prequential_quality", scorer=scorer, slice=name, figure="hr@20"
            )
            for name in ("all", "first_of_basket", "cold")
        )
        table.add_row(scorer, *(f"{value:.3f}" for value in values))
    return table


def _person(person: Shopper, recommended: list[str]) -> Table:
    hits = set(recommended) & set(person.after)
    table = Table(title=f"user {person.user}", title_justify="left")
    for heading in ("bought last", "recommended", "bought next"):
        table.add_column(heading)
    for row in range(max(len(person.before), len(recommended), len(person.after))):
        cells = [
            column[row] if row < len(column) else "" for column in (person.before, recommended, person.after)
        ]
        table.add_row(*(f"[bold]{cell}[/]" if cell in hits else cell for cell in cells))
    return table
