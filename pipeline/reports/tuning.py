"""What a search for settings found, as tables."""

from __future__ import annotations

from rich.console import Group, RenderableType

from pipeline.reports.layout import table
from pipeline.reports.numbers import UNKNOWN
from pipeline.training.tuning import TuningResult
from pipeline.wording import counted


def tuning_page(found: TuningResult) -> RenderableType:
    """Return the figures before and after, then each setting, those that matter most first."""
    runs = [("as they are", found.present), ("best", found.best)]
    rows = [(name, f"{run.figure:.4f}", f"{run.seconds:.1f}") for name, run in runs]
    headings = "settings", found.name, "processor seconds"
    title = f"{counted(found.runs, 'run')}, {found.stopped:,} of them stopped early"
    return Group(table(title, headings, rows, right=headings[1:]), _settings(found))


def _settings(found: TuningResult) -> RenderableType:
    names = found.importances or found.best.settings
    rows = [
        (
            f"learn.{name}",
            f"{found.importances[name]:.2f}" if found.importances else UNKNOWN,
            f"{found.present.settings[name]:.4g}",
            f"{found.best.settings[name]:.4g}",
        )
        for name in names
    ]
    headings = "setting", "importance", "as it is", "best"
    return table("settings", headings, rows, right=headings[1:], whole=("setting",))
