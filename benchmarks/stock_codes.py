"""What the model gains on Online Retail from stock codes: variants of one design share the digits of theirs.

    python -m benchmarks.stock_codes --data <online-retail>

The same backtest three times: as it is, with the digits as an attribute (`learn.sizes.attributes`), and with
the other variants as related items (`learn.sizes.relations`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from pipeline.assembly import make_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import ModelConfig, Settings
from pipeline.datasets import Dataset, open_dataset
from pipeline.evaluation.prequential import Report
from pipeline.events import Event, Item
from pipeline.training.backtest import backtest

DESIGN, VARIANTS = "design", "variants"
MOST_VARIANTS = 32
"""Variants that an item names, at most."""
DECLARED: dict[str, dict[str, object]] = {
    "as it is": {},
    "attribute": {"attributes": (DESIGN,)},
    "relation": {"relations": (VARIANTS,)},
}
SLICES = "all", "cold", "new_items", "first_of_basket"
FIGURES = "hr@20", "mrr@20", "log_loss"

console = Console(width=120)


class Variants:
    """A data set whose items have the digits of their ids, and the ids of others with the same digits."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.name, self.digest, self.drops = dataset.name, dataset.digest, dataset.drops

    def events(self) -> Iterator[Event]:
        """Yield the events, with what stock codes say of items."""
        of_design = defaultdict[str, list[str]](list)
        for event in self._dataset.events():
            if isinstance(event, Item):
                of_design[design_of(event.item)].append(event.item)
        for event in self._dataset.events():
            yield _described(event, of_design[design_of(event.item)]) if isinstance(event, Item) else event


def design_of(item: str) -> str:
    """Return the digits that an id begins with; all of an id without any."""
    return item[: len(item) - len(item.lstrip("0123456789"))] or item


def main(
    data: Annotated[str, typer.Option(help="Path of Online Retail.")],
    limit: Annotated[int, typer.Option(help="Purchases.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the learners.")] = 0,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
    report: ReportOption = None,
) -> None:
    """Learn the first purchases with each, on one thread."""
    torch.set_num_threads(1)
    found = {name: _run(data, limit, seed, cache, declared) for name, declared in DECLARED.items()}
    for scorer in ("mixture", "model"):
        console.print(_table(scorer, found))
    if report:
        report.write_text(json.dumps(found, indent=2) + "\n")


def _described(item: Item, variants: list[str]) -> Item:
    others = tuple(other for other in variants if other != item.item)[:MOST_VARIANTS]
    attributes = {DESIGN: design_of(item.item), **({VARIANTS: others} if others else {})}
    return item.model_copy(update={"attributes": attributes})


def _run(data: str, limit: int, seed: int, cache: Path, declared: dict[str, object]) -> Report:
    settings = Settings(model=ModelConfig(device="cpu", threads=1, cache=cache))
    learn = settings.learn.replace(seed=seed, sizes=settings.learn.sizes.replace(**declared))
    learner = make_learner(settings.model_copy(update={"learn": learn}))
    dataset = Variants(open_dataset(data))
    found = backtest(learner, dataset, limit, settings.batch.events, lambda _: None)
    console.print(f"{declared}: { ({name: tuple(one) for name, one in found.modalities.items()}) }")
    return found.quality


def _table(scorer: str, found: dict[str, Report]) -> Table:
    table = Table(title=scorer, title_justify="left")
    for column in ("targets", "figure", *found):
        table.add_column(column)
    for name in SLICES:
        for figure in FIGURES:
            values = (f"{quality[scorer][name][figure]:.4f}" for quality in found.values())
            table.add_row(name, figure, *values)
    return table


if __name__ == "__main__":
    typer.run(main)
