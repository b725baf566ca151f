"""What the model gains from what items bring beside their texts, in a shop whose texts do not tell styles.

    python -m benchmarks.modalities vector --seeds 3
    python -m benchmarks.modalities series --seeds 3
    python -m benchmarks.modalities noise --seeds 3
    python -m benchmarks.modalities image
    python -m benchmarks.modalities audio
    python -m benchmarks.modalities music
    python -m benchmarks.modalities brand --seeds 3
    python -m benchmarks.modalities relation --seeds 3

Each run learns one stream twice, with what items bring declared and without. `vector`: an item's vector
points near the direction of its style. `series`: it is what `encode_series` makes of a series whose rhythm
is that of its style. `image`, `audio` and `music`: what the encoders of `millstream media` make of a picture
whose colour and shape, or a sound whose pitch, are those of its style. `noise`: it says nothing. `brand`: an
item's brand mostly has one style. `relation`: an item is an accessory of two whose texts tell its style.
Most items arrive while the stream goes on, so that half of all targets are cold: nobody, or hardly anybody,
has acted on them.
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
from benchmarks.prior_knowledge import (
    ACCESSORY_OF,
    BRAND,
    Known,
    catalogue_of,
    with_accessories,
    with_brands,
)
from pipeline.assembly import make_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import EncoderName, MediaConfig, ModelConfig, Settings
from pipeline.datasets.shop.looks import NAME, WIDTH
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
    MUSIC = "music"
    NOISE = "noise"
    BRAND = "brand"
    RELATION = "relation"


MODALITIES = {Carrier.SERIES: Modality.SERIES, Carrier.NOISE: Modality.NOISE}
"""Those of the shop; the others are made of a shop with vectors."""
ENCODER: dict[Carrier, EncoderName] = {
    Carrier.IMAGE: "efficientnet-lite0",
    Carrier.AUDIO: "speech-embedding",
    Carrier.MUSIC: "basic-pitch",
}
Encode = Callable[[Item], NDArray[np.floating[Any]]]
Declared = dict[str, object]
"""Of `learn.sizes`."""


class KnownShop(Shop):
    """A shop whose items have what a producer knows of them."""

    def __init__(self, settings: ShopSettings, known: Known) -> None:
        super().__init__(settings)
        self._known = known

    def events(self) -> Iterator[Event]:
        """Yield the shop's events, with what is known of items."""
        for event in super().events():
            yield self._known(event) if isinstance(event, Item) else event


def encoded_shop(settings: ShopSettings, encode: Encode) -> Shop:
    """Return a shop whose items' vectors are made by a producer, each once."""
    vectors = dict[str, tuple[float, ...]]()

    def encoded(item: Item) -> Item:
        if item.item not in vectors:
            vectors[item.item] = tuple(encode(item).round(4).tolist())
        return item.model_copy(update={"vectors": {NAME: vectors[item.item]}})

    return KnownShop(settings, encoded)


def shop_of(carrier: Carrier, settings: ShopSettings) -> tuple[Shop, Declared]:
    """Return a shop, and what is to be declared to read what its items bring."""
    shop = replace(settings, modality=MODALITIES.get(carrier, Modality.VECTOR))
    match carrier:
        case Carrier.BRAND:
            return KnownShop(shop, with_brands(shop)), {"attributes": (BRAND,)}
        case Carrier.RELATION:
            return KnownShop(shop, with_accessories(shop)), {"relations": (ACCESSORY_OF,)}
        case Carrier.SERIES:
            made = encoded_shop(shop, lambda item: encode_series(item.vectors[NAME], SERIES_WIDTH))
            width = SERIES_WIDTH
        case Carrier.IMAGE | Carrier.AUDIO | Carrier.MUSIC:
            made, width = media_shop(ENCODER[carrier], shop)
        case _:
            made, width = Shop(shop), WIDTH
    return made, {"vectors": {NAME: width}}


def media_shop(name: EncoderName, shop: ShopSettings) -> tuple[Shop, int]:
    """Return a shop whose items' vectors an encoder makes of pictures or sounds, and their width."""
    encoder, styles = load_encoder(name, MediaConfig()), styles_of(shop)

    def encode(item: Item) -> Vector:
        return encoder.encode(MADE[name](item.item, styles[item.item], shop.seed))

    return encoded_shop(shop, encode), ENCODERS[name].width


def styles_of(shop: ShopSettings) -> dict[str, int]:
    """Return the style of each item of a shop."""
    catalogue = catalogue_of(shop, tells_style=False)
    return {item.item: style for item, style in zip(catalogue.items, catalogue.style.tolist(), strict=True)}


def main(
    carrier: Annotated[Carrier, typer.Argument(help="What tells the styles.")],
    seeds: Annotated[int, typer.Option(help="Shops, each with items, users and acts of its own.")] = 1,
    events: Annotated[int, typer.Option(help="Interactions.")] = 16_000,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
    report: ReportOption = None,
) -> None:
    """Learn each shop with and without what its items bring, on one thread."""
    torch.set_num_threads(1)
    runs = []
    for seed in range(seeds):
        shop, declared = shop_of(carrier, replace(SHOP, seed=seed, events=events))
        runs.append({reads: _run(shop, declared if reads else {}, cache) for reads in (False, True)})
        console.print(f"seed {seed}: gate and length {runs[-1][True]['modality']}")
    for scorer in ("mixture", "model"):
        console.print(_table(scorer, carrier, runs))
    if report:
        report.write_text(json.dumps(runs, indent=2) + "\n")


def _run(shop: Shop, declared: Declared, cache: Path) -> dict[str, Any]:
    """Learn a shop, with what is declared."""
    settings = Settings(model=ModelConfig(device="cpu", threads=1, cache=cache))
    sizes = settings.learn.sizes.replace(**declared)
    learn = settings.learn.replace(seed=shop.settings.seed, sizes=sizes)
    learner = make_learner(settings.model_copy(update={"learn": learn}))
    found = backtest(learner, shop, None, settings.batch.events, lambda _: None)
    figures = learner.recommender.fusion.figures().values()
    return {
        "quality": found.quality,
        "events_per_second": found.events / found.seconds,
        "modality": next((found._asdict() for found in figures), None),
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
