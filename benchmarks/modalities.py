"""What the model gains from what items bring beside their texts, in a shop whose texts do not tell styles.

    python -m benchmarks.modalities vector --seeds 3
    python -m benchmarks.modalities series --seeds 3
    python -m benchmarks.modalities noise --seeds 3
    python -m benchmarks.modalities image
    python -m benchmarks.modalities audio

Each run learns one stream twice, with the vectors declared and without. `vector`: an item's vector points
near the direction of its style. `series`: it is what `encode_series` makes of a series whose rhythm is that
of its style. `image` and `audio`: what the encoders of `millstream media` make of a picture whose colour and
shape, or a sound whose pitch, are those of its style. `noise`: it says nothing. Most items arrive while the
stream goes on, so that half of all targets are cold: nobody, or hardly anybody, has acted on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.media import MADE
from pipeline.assembly import make_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import EncoderName, MediaConfig, ModelConfig, Settings
from pipeline.datasets.shop.catalogue import make_catalogue
from pipeline.datasets.shop.looks import NAME, WIDTH
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import Modality, ShopSettings
from pipeline.datasets.shop.shop import Shop
from pipeline.events import Event, Item
from pipeline.media.encoder import Vector
from pipeline.media.encoders import ENCODERS, load_encoder
from pipeline.model.content.series import encode_series
from pipeline.training.backtest import backtest

SHOP = ShopSettings(items=3_000, arrivals=2_400, arrival_every=8, style=2.0)
SERIES_WIDTH = 64
SLICES = "all", "cold", "new_items"
FIGURES = "hr@20", "mrr@20", "log_loss"
Figures = dict[str, dict[str, float]]

console = Console(width=120)


class Carrier(StrEnum):
    """What tells the styles of items."""

    VECTOR = "vector"
    SERIES = "series"
    IMAGE = "image"
    AUDIO = "audio"
    NOISE = "noise"


MODALITIES = {Carrier.SERIES: Modality.SERIES, Carrier.NOISE: Modality.NOISE}
"""Those of the shop; the others are made of a shop with vectors."""
ENCODER: dict[Carrier, EncoderName] = {
    Carrier.IMAGE: "efficientnet-lite0",
    Carrier.AUDIO: "speech-embedding",
}
Encode = Callable[[Item], NDArray[np.floating[Any]]]


class EncodedShop(Shop):
    """A shop whose items' vectors are made by a producer, each once."""

    def __init__(self, settings: ShopSettings, encode: Encode) -> None:
        super().__init__(settings)
        self._encode = encode
        self._vectors = dict[str, tuple[float, ...]]()

    def events(self) -> Iterator[Event]:
        """Yield the shop's events, with the vectors."""
        for event in super().events():
            yield self._encoded(event) if isinstance(event, Item) else event

    def _encoded(self, item: Item) -> Item:
        if item.item not in self._vectors:
            self._vectors[item.item] = tuple(self._encode(item).round(4).tolist())
        return item.model_copy(update={"vectors": {NAME: self._vectors[item.item]}})


def shop_of(carrier: Carrier, settings: ShopSettings) -> tuple[Shop, int]:
    """Return a shop and the width of its items' vectors."""
    shop = replace(settings, modality=MODALITIES.get(carrier, Modality.VECTOR))
    if carrier is Carrier.SERIES:
        return EncodedShop(shop, lambda item: encode_series(item.vectors[NAME], SERIES_WIDTH)), SERIES_WIDTH
    if carrier not in ENCODER:
        return Shop(shop), WIDTH
    name = ENCODER[carrier]
    encoder, styles = load_encoder(name, MediaConfig()), styles_of(shop)

    def encode(item: Item) -> Vector:
        return encoder.encode(MADE[name](item.item, styles[item.item], shop.seed))

    return EncodedShop(shop, encode), ENCODERS[name].width


def styles_of(shop: ShopSettings) -> dict[str, int]:
    """Return the style of each item of a shop."""
    catalogue = make_catalogue(shop.items, generator(shop.seed, Purpose.CATALOGUE), tells_style=False)
    return {item.item: style for item, style in zip(catalogue.items, catalogue.style.tolist(), strict=True)}


def main(
    carrier: Annotated[Carrier, typer.Argument(help="What tells the styles.")],
    seeds: Annotated[int, typer.Option(help="Shops, each with items, users and acts of its own.")] = 1,
    events: Annotated[int, typer.Option(help="Interactions.")] = 16_000,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
    report: ReportOption = None,
) -> None:
    """Learn each shop with and without its vectors, on one thread."""
    torch.set_num_threads(1)
    runs = []
    for seed in range(seeds):
        shop, width = shop_of(carrier, replace(SHOP, seed=seed, events=events))
        runs.append({declared: _run(shop, width if declared else 0, cache) for declared in (False, True)})
        console.print(f"seed {seed}: gate and length {runs[-1][True]['modality']}")
    for scorer in ("mixture", "model"):
        console.print(_table(scorer, carrier, runs))
    if report:
        report.write_text(json.dumps(runs, indent=2) + "\n")


def _run(shop: Shop, width: int, cache: Path) -> dict[str, Any]:
    """Learn a shop, with vectors of a width; 0 for without."""
    settings = Settings(model=ModelConfig(device="cpu", threads=1, cache=cache))
    sizes = settings.learn.sizes.replace(vectors={NAME: width} if width else {})
    learn = settings.learn.replace(seed=shop.settings.seed, sizes=sizes)
    learner = make_learner(settings.model_copy(update={"learn": learn}))
    found = backtest(learner, shop, None, settings.batch.events, lambda _: None)
    figures = learner.recommender.fusion.figures()
    return {
        "quality": found.quality,
        "events_per_second": found.events / found.seconds,
        "modality": figures[NAME]._asdict() if width else None,
    }


def _table(scorer: str, carrier: Carrier, runs: list[dict[bool, dict[str, Any]]]) -> Table:
    table = Table(title=f"{scorer}, {carrier}: mean of {len(runs)} seeds", title_justify="left")
    for column in ("targets", "figure", "without", "with", "with / without", "each seed: with - without"):
        table.add_column(column)
    for name in SLICES:
        for figure in FIGURES:
            pairs = np.array(
                [[run[which]["quality"][scorer][name][figure] for which in (False, True)] for run in runs]
            )
            without, with_it = pairs.mean(axis=0)
            apart = " ".join(f"{after - before:+.4f}" for before, after in pairs)
            table.add_row(name, figure, f"{without:.4f}", f"{with_it:.4f}", f"{with_it / without:.3f}", apart)
    return table


if __name__ == "__main__":
    typer.run(main)
