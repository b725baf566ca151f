"""A backtest as one HTML file that needs no network: plots over time, figures, settings and machine.

Each plot is drawn by uPlot from the table behind it, so that what a plot shows can be read without it. Of the
libraries for plots, uPlot has the lightest page by far: 51 kB, where Vega needs .8 MB and Plotly 4 MB. It is
part of this package, because its publisher offers it for browsers and not as a Python package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.evaluation.prequential import FULL_RANKING, SCORERS, Report
from pipeline.evaluation.timeline import Timeline, Window, total_regret
from pipeline.reports import modalities, ratings
from pipeline.reports.classification import HEADINGS, classification_rows
from pipeline.reports.lists import (
    GROUP_HEADINGS,
    LIST_HEADINGS,
    MEANINGS,
    group_rows,
    list_rows,
    lists_title,
)
from pipeline.reports.quality import quality_headings, quality_rows, slices_with_targets
from pipeline.training.backtest import BacktestReport

FOLDER = Path(__file__).with_name("page")
SCRIPTS = ("uplot/uPlot.iife.min.js", "plots.js")
STYLES = ("uplot/uPlot.min.css", "page.css")
ALL_SCORERS = (*SCORERS, FULL_RANKING)
TITLES = {
    "hr@20": "hit rate among the first 20",
    "mrr@20": "mean reciprocal rank among the first 20",
    "log_loss": "log-loss, in nats",
}
REGRET_TITLES = {"hr@20": "hits", "mrr@20": "reciprocal ranks", "log_loss": "nats of log-loss"}


class Series(NamedTuple):
    """A line of a plot: its name, its values, and the number of its colour."""

    name: str
    values: Sequence[float | None]
    colour: int


class Plot(NamedTuple):
    """Lines over the number of interactions so far."""

    title: str
    events: Sequence[int]
    series: Sequence[Series]
    digits: int = 4

    @property
    def rows(self) -> Iterator[list[str]]:
        """The cells of the table behind it."""
        for events, *values in zip(self.events, *(one.values for one in self.series), strict=True):
            yield [str(events), *("" if v is None else f"{v:.{self.digits}f}" for v in values)]

    @property
    def summary(self) -> str:
        """What it shows, for who does not see it: where each line begins and ends."""
        return f"{self.title}: " + "; ".join(
            f"{one.name} from {known[0]:.{self.digits}f} to {known[-1]:.{self.digits}f}"
            for one in self.series
            if (known := [value for value in one.values if value is not None])
        )


class PageTable(NamedTuple):
    """Figures of the whole run; the first cell of a row names it."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


class PageSection(NamedTuple):
    """Plots that belong together."""

    title: str
    about: str
    plots: Sequence[Plot]
    is_open: bool = False


def backtest_page(report: BacktestReport, facts: Mapping[str, str], settings: str) -> str:
    """Render a backtest as HTML.

    Args:
        report: its result.
        facts: of the run, see `run_facts`.
        settings: those that it had, as TOML.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("backtest.html").render(
        report=report,
        speed=report.events / report.seconds if report.seconds else 0.0,
        facts=facts,
        settings=settings,
        sections=list(_sections(report)),
        quality=(quality_headings(report.quality), list(quality_rows(report.quality))),
        tables=list(_tables(report)),
        styles=_texts(STYLES),
        scripts=_texts(SCRIPTS),
    )


def _texts(names: Sequence[str]) -> list[Markup]:
    return [Markup((FOLDER / name).read_text()) for name in names]  # noqa: S704 (our own files)


def _tables(report: BacktestReport) -> Iterator[PageTable]:
    yield PageTable(lists_title(report.lists), LIST_HEADINGS, list_rows(report.lists))
    if report.groups:
        yield PageTable("shares of groups of items", GROUP_HEADINGS, group_rows(report.groups))
    if report.decisions:
        yield PageTable("binary decisions", HEADINGS, classification_rows(report.decisions))
    if report.ratings:
        yield PageTable(ratings.TITLE, ratings.HEADINGS, ratings.ratings_rows(report.ratings))
    if report.modalities:
        rows = modalities.modalities_rows(report.modalities)
        yield PageTable(modalities.TITLE, modalities.HEADINGS, rows)


def _sections(report: BacktestReport) -> Iterator[PageSection]:
    windows = report.timeline.windows
    until = [so_far.events for so_far in report.timeline.so_far()]
    for name in slices_with_targets(report.quality):
        scorers = [scorer for scorer in ALL_SCORERS if name in report.quality.get(scorer, {})]
        yield _quality_section(name, scorers, until, [window.quality.report() for window in windows])
    yield _regret_section(until, report.timeline)
    yield _list_section(until, windows)
    yield _speed_section(until, windows)


def _quality_section(name: str, scorers: list[str], until: list[int], reports: list[Report]) -> PageSection:
    def series(figure: str) -> list[Series]:
        return [
            Series(scorer, [_figure(one, scorer, name, figure) for one in reports], colour)
            for colour, scorer in enumerate(scorers)
        ]

    plots = [Plot(title, until, series(figure)) for figure, title in TITLES.items()]
    about = "How well each scorer predicted acts before they were learned."
    return PageSection(f"Quality: {_words(name)}", about, plots, is_open=name == "all")


def _figure(report: Report, scorer: str, name: str, figure: str) -> float | None:
    return report.get(scorer, {}).get(name, {}).get(figure)


def _regret_section(until: list[int], timeline: Timeline) -> PageSection:
    totals = [total_regret(so_far.quality.report()) for so_far in timeline.so_far()]
    names = list(dict.fromkeys(name for total in totals for name in total))

    def series(figure: str) -> list[Series]:
        return [
            Series(_words(name), [total.get(name, {}).get(figure) for total in totals], colour)
            for colour, name in enumerate(names)
        ]

    plots = [
        Plot(f"{title} lost to the best part so far", until, series(figure), digits=2)
        for figure, title in REGRET_TITLES.items()
    ]
    about = (
        "What the mixture has lost, summed over all targets so far, to the best of its parts, chosen "
        "afterwards. Below 0 it is better than each of them; a line that no longer rises loses nothing more."
    )
    return PageSection("Regret of the mixture", about, plots, is_open=True)


def _list_section(until: list[int], windows: Sequence[Window]) -> PageSection:
    plots = [
        Plot(name, until, [Series(name, [window.lists.get(name) for window in windows], 0)])
        for name in MEANINGS
    ]
    about = "The last lists of a sample of users at each time; the table above says what the figures mean."
    return PageSection("Lists: diversity, spread, stability", about, plots)


def _speed_section(until: list[int], windows: Sequence[Window]) -> PageSection:
    speeds = [window.events / window.seconds if window.seconds else None for window in windows]
    plot = Plot("interactions learned a second", until, [Series("interactions/s", speeds, 0)], digits=1)
    return PageSection("Throughput", "Reading, scoring and learning; by the clock on the wall.", [plot], True)


def _words(name: str) -> str:
    return name.replace("_", " ")
