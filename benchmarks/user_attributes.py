"""What attributes of users gain for those who have not acted yet, and whether those that say nothing do harm.

    python -m benchmarks.user_attributes taste --seeds 3
    python -m benchmarks.user_attributes noise --seeds 3
    python -m benchmarks.user_attributes country --data <online-retail> --limit 39000

Each run learns one stream twice, with attributes declared and without. `taste`: in a shop, the club of a user
is that of the category that he likes most. `noise`: it is drawn. `country`: the country of Online Retail's
customers. Without attributes, a first act is not predicted: what is shown to somebody new is what is popular,
so that popularity is what first acts are compared with. All other acts are compared between both runs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from pipeline.assembly import make_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import ModelConfig, Settings
from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.shop.public import CLUB
from pipeline.datasets.shop.settings import Membership, ShopSettings
from pipeline.datasets.shop.shop import Shop
from pipeline.training.backtest import backtest

SHOP = ShopSettings(users=6_000)
COUNTRY = "country"
FIRST, ALL = "first_of_user", "all"
FIGURES = "hr@20", "mrr@20", "log_loss"
Runs = list[dict[bool, dict[str, Any]]]

console = Console(width=120)


class Carrier(StrEnum):
    """What the attributes say."""

    TASTE = "taste"
    NOISE = "noise"
    COUNTRY = "country"


def main(
    carrier: Annotated[Carrier, typer.Argument(help="What the attributes say.")],
    seeds: Annotated[int, typer.Option(help="Shops, or seeds of the learner.")] = 1,
    data: Annotated[str, typer.Option(help="Path of Online Retail.")] = "",
    limit: Annotated[int, typer.Option(help="Interactions.")] = 20_000,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
    report: ReportOption = None,
) -> None:
    """Learn each stream with and without attributes, on one thread."""
    torch.set_num_threads(1)
    runs: Runs = []
    for seed in range(seeds):
        dataset, name = _data(carrier, data, seed)
        runs.append(
            {reads: _run(dataset, (name,) if reads else (), seed, limit, cache) for reads in (False, True)}
        )
        console.print(f"seed {seed}: gate and length {runs[-1][True]['attribute']}")
    console.print(_first_acts(carrier, runs))
    console.print(_others(carrier, runs))
    if report:
        report.write_text(json.dumps(runs, indent=2) + "\n")


def _data(carrier: Carrier, data: str, seed: int) -> tuple[Dataset, str]:
    """Return the data, and the name of the attribute."""
    if carrier is Carrier.COUNTRY:
        return open_dataset(data), COUNTRY
    return Shop(replace(SHOP, seed=seed, membership=Membership(carrier.value))), CLUB


def _run(dataset: Dataset, names: tuple[str, ...], seed: int, limit: int, cache: Path) -> dict[str, Any]:
    """Learn a stream with the attributes of users that are named."""
    settings = Settings(model=ModelConfig(device="cpu", threads=1, cache=cache))
    learn = settings.learn.replace(seed=seed, sizes=settings.learn.sizes.replace(user_attributes=names))
    learner = make_learner(settings.model_copy(update={"learn": learn}))
    found = backtest(learner, dataset, limit, settings.batch.events, lambda _: None)
    return {
        "quality": found.quality,
        "events_per_second": found.events / found.seconds,
        "attribute": next((figures._asdict() for figures in found.modalities.values()), None),
    }


def _first_acts(carrier: Carrier, runs: Runs) -> Table:
    """Compare the first acts of users with popularity."""
    table = _table(
        f"first acts of users, {carrier}", "figure", "popularity", "model", "mixture", "mixture / popularity"
    )
    for figure in FIGURES:
        popularity, model, mixture = (
            sum(run[True]["quality"][scorer][FIRST][figure] for run in runs) / len(runs)
            for scorer in ("popularity", "model", "mixture")
        )
        row = f"{popularity:.4f}", f"{model:.4f}", f"{mixture:.4f}", f"{mixture / popularity:.3f}"
        table.add_row(figure, *row)
    table.caption = f"{sum(run[True]['quality']['mixture'][FIRST]['n'] for run in runs):,} acts"
    return table


def _others(carrier: Carrier, runs: Runs) -> Table:
    """Compare all other acts between the runs with and without."""
    table = _table(
        f"all other acts, {carrier}", "scorer", "figure", "without", "with", "each seed: with - without"
    )
    for scorer in ("mixture", "model"):
        for figure in FIGURES:
            pairs = [
                [_without_first(run[reads]["quality"][scorer], figure) for reads in (False, True)]
                for run in runs
            ]
            means = [f"{sum(values) / len(runs):.4f}" for values in zip(*pairs, strict=True)]
            table.add_row(
                scorer, figure, *means, " ".join(f"{after - before:+.4f}" for before, after in pairs)
            )
    return table


def _without_first(slices: dict[str, dict[str, Any]], figure: str) -> float:
    """Return the mean of a figure over all targets but the first acts of users."""
    every, first = slices[ALL], slices[FIRST]
    if not first["n"]:
        return float(every[figure])
    return float((every["n"] * every[figure] - first["n"] * first[figure]) / (every["n"] - first["n"]))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


if __name__ == "__main__":
    typer.run(main)
