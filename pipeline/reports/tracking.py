"""A backtest as a run of TensorBoard: its figures over the number of interactions, settings and machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import InvalidSettings, StorageUnavailable
from pipeline.evaluation.lists import Figures
from pipeline.evaluation.prequential import Report
from pipeline.evaluation.regret import regret
from pipeline.reports.classification import FIGURES
from pipeline.training.backtest import BacktestReport

REMEDY = "tracking needs tensorboard: pip install 'millstream[track]'"


def require_tracking(runs: Path) -> None:
    """Find out before the work whether a run can be tracked; make the folder of runs.

    Raises:
        InvalidSettings: tensorboard is not installed.
        StorageUnavailable: the folder cannot be made, or may not be written.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401, PLC0415  # an extra
    except ImportError:
        raise InvalidSettings(REMEDY) from None
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"runs cannot be written to {runs}: {error}; name another folder") from error
    if not os.access(runs, os.W_OK):
        raise StorageUnavailable(f"{runs} may not be written: name a folder where you may write")


def track(report: BacktestReport, folder: Path, facts: Mapping[str, str], settings: str) -> None:
    """Write a run into a folder of its own.

    Args:
        report: its result.
        folder: where TensorBoard finds it.
        facts: of the run, see `run_facts`.
        settings: those that it had, as TOML.

    Raises:
        StorageUnavailable: the folder cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # an extra

    try:
        with SummaryWriter(str(folder)) as writer:
            writer.add_text("settings", f"```toml\n{settings}```")
            rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
            writer.add_text("run", f"| | |\n|---|---|\n{rows}")
            for name, value, events in _scalars(report):
                writer.add_scalar(name, value, events)
    except OSError as error:
        raise StorageUnavailable(f"the run cannot be written to {folder}: {error}") from error


def _scalars(report: BacktestReport) -> Iterator[tuple[str, float, int]]:
    """Yield name and value of each figure, and the number of interactions until then."""
    for window, so_far in zip(report.timeline.windows, report.timeline.so_far(), strict=True):
        figures = {**_quality(window.quality.report()), **_regret(so_far.quality.report())}
        figures |= {f"lists/{name}": value for name, value in window.lists.items()}
        figures["speed/interactions a second"] = window.events / window.seconds if window.seconds else None
        yield from ((name, value, so_far.events) for name, value in figures.items() if value is not None)
    whole = {**_decisions(report), **_ratings(report)}
    yield from ((name, value, report.events) for name, value in whole.items() if value is not None)


def _decisions(report: BacktestReport) -> Figures:
    """Figures of the whole run, which has no others of decisions."""
    return {
        f"decisions/{figure}/{kind}": getattr(found, attribute)
        for kind, found in report.decisions.items()
        for figure, attribute in FIGURES.items()
    }


def _ratings(report: BacktestReport) -> Figures:
    """Figures of the whole run, which has no others of ratings."""
    errors = {name: {"mae": one.mae, "rmse": one.rmse} for name, one in report.ratings.items()}
    return {f"ratings/{figure}/{name}": value for name, by in errors.items() for figure, value in by.items()}


def _quality(report: Report) -> Figures:
    return {
        f"{name}/{figure}/{scorer}": value
        for scorer, slices in report.items()
        for name, figures in slices.items()
        for figure, value in figures.items()
    }


def _regret(report: Report) -> Figures:
    return {
        f"regret/{figure}/{name}": found.value
        for name, regrets in regret(report).items()
        for figure, found in regrets.items()
    }
