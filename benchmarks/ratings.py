"""Compare predicted ratings with those of river's recommenders, on the same stream of recorded ratings.

    python -m benchmarks.ratings /work/shared/data/ml-latest-small

All predict a rating before they learn it. river's predict and learn one rating at a time, with those settings
of `GRIDS` that have the least mean absolute error over the whole stream with the first seed; predictions
are clipped to the scale. Ours has its default settings and learns batches of 256: it predicts from weights
that lack the ratings of the batch, but not those of the same user. It draws nothing: a seed cuts the stream
into other batches. "without" are ours without a part.

The item mean is that of the item's earlier ratings, or of all earlier ratings if there are none. "text and
item" predicts as if users had rated nothing, and "text" as if nobody had rated the item, either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from numbers import Number
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from river.optim import SGD
from river.optim.initializers import Normal
from river.reco import Baseline, BiasedMF, FunkMF
from river.reco.base import Ranker

from benchmarks.retrains import BATCH, new_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import RatingsConfig, SignalsConfig, StreamConfig
from pipeline.datasets import open_dataset
from pipeline.events import Interaction, InteractionType, Item
from pipeline.ratings.acts import new_ratings
from pipeline.ratings.learner import RatingLearner
from pipeline.ratings.model import RatedItems
from pipeline.state.catalogue import Catalogue
from pipeline.state.histories import Act, Histories
from pipeline.state.signals import Signals

Floats = NDArray[np.float64]
Settings = tuple[float, ...]
RATES, PENALTIES, FACTORS = (0.02, 0.035, 0.05, 0.07), (0.05, 0.2, 0.4), 10
MEANS = 0.0, 0.6
"""Of the first factors: with .6, ten of them make 3.6; around 0, FunkMF has to find the scale first."""
GRIDS: Mapping[str, Sequence[Settings]] = {
    "Baseline": list(product(RATES, PENALTIES)),
    "FunkMF": list(product(RATES, PENALTIES, MEANS)),
    "BiasedMF": list(product(RATES, PENALTIES, (0.005, 0.02, 0.05))),
}
"""Learning rate, L2 penalty; for FunkMF the mean of its first factors, for BiasedMF the rate of factors."""
NO_TEXT = 1e6
PARTS: Mapping[str, Mapping[str, float]] = {
    "ours": {},
    "without text": {"text": NO_TEXT, "taste": 0.0},
    "without taste": {"taste": 0.0},
    "without mood": {"mood": 0.0},
    "without lasting": {"lasting": 0.0},
    "without effects of items": {"item": 1e6},
}


class Stream(NamedTuple):
    """Recorded ratings by time, and content vectors ``[n, d]`` of the catalogue's rows."""

    ratings: Sequence[Interaction]
    catalogue: Catalogue
    content: NDArray[np.float16]

    @property
    def values(self) -> Floats:
        """The ratings ``[m]``."""
        return np.array([event.value for event in self.ratings])

    def slices(self) -> dict[str, NDArray[np.bool_]]:
        """Which ratings are of which slice."""
        users, items = set[str](), set[str]()
        firsts = np.array([_is_new(event.user, users) for event in self.ratings])
        unseen = np.array([_is_new(event.item, items) for event in self.ratings])
        return {"all": np.ones_like(firsts), "first of a user": firsts, "first of an item": unseen}


def main(
    data: Annotated[Path, typer.Argument(help="Folder of MovieLens.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 3,
    limit: Annotated[int | None, typer.Option(help="Use only the first so many ratings.")] = None,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Print mean absolute and root mean square errors; some minutes on one thread."""
    stream = read(data, cache, limit)
    runs: dict[str, list[Floats]] = {"item mean": [item_means(stream)]}
    for name, grid in GRIDS.items():
        best = min(track(grid, name), key=lambda settings: mae(stream, by_river(stream, name, settings, 0)))
        runs[f"{name} {best}"] = [by_river(stream, name, best, seed) for seed in range(seeds)]
    for name, without in track(PARTS.items(), "ours"):
        found = [
            by_us(stream, RatingsConfig().replace(**without), BATCH * seed // seeds) for seed in range(seeds)
        ]
        runs |= {name if name == "ours" else f"ours {name}": [of.own for of in found]}
        if name == "ours":
            runs["text and item"], runs["text"] = [of.everyone for of in found], [of.text for of in found]
    figures = {name: errors(stream, predictions) for name, predictions in runs.items()}
    show(figures)
    if report:
        report.write_text(json.dumps(figures, indent=1) + "\n")


def read(data: Path, cache: Path, limit: int | None) -> Stream:
    """Read recorded ratings, and encode the catalogue."""
    catalogue, ratings = Catalogue(), list[Interaction]()
    for event in open_dataset(str(data)).events():
        if isinstance(event, Item):
            catalogue.upsert(event)
        elif isinstance(event, Interaction) and event.type is InteractionType.RATING:
            ratings.append(event)
    encoder = new_learner(cache).encoder
    content = encoder.encode([catalogue.text(row) for row in range(len(catalogue))])
    return Stream(ratings[:limit], catalogue, content.astype(np.float16))


def item_means(stream: Stream) -> Floats:
    """Predict the mean of an item's earlier ratings."""
    sums: dict[str | None, list[float]] = {None: [0.0, 0]}
    found = []
    for event in stream.ratings:
        total, count = sums.get(event.item) or sums[None]
        found.append(total / count if count else np.mean(_scale()))
        for key in (event.item, None):
            total, count = sums.get(key, [0.0, 0])
            sums[key] = [total + (event.value or 0.0), count + 1]
    return np.array(found)


def by_river(stream: Stream, name: str, settings: Settings, seed: int) -> Floats:
    """Predict with one of river's recommenders, rating by rating."""
    model, (lowest, highest) = _recommender(name, settings, seed), _scale()
    found = []
    with np.errstate(all="ignore"):
        for event in stream.ratings:
            found.append(model.predict_one(event.user, event.item))
            model.learn_one(event.user, event.item, cast("Number", event.value))
    predictions: Floats = np.clip(np.nan_to_num(np.array(found), nan=lowest), lowest, highest)
    return predictions


def _recommender(name: str, settings: Settings, seed: int) -> Ranker:
    rate, penalty, *rest = settings
    if name == "Baseline":
        return Baseline(optimizer=SGD(rate), l2=penalty)
    if name == "FunkMF":
        first = Normal(mu=rest[0], sigma=0.1, seed=seed)
        return FunkMF(FACTORS, optimizer=SGD(rate), l2=penalty, initializer=first, seed=seed)
    return BiasedMF(
        FACTORS,
        bias_optimizer=SGD(rate),
        latent_optimizer=SGD(rest[0]),
        l2_bias=penalty,
        l2_latent=penalty,
        latent_initializer=Normal(mu=0.0, sigma=0.1, seed=seed),
        seed=seed,
    )


class Predictions(NamedTuple):
    """Predictions ``[m]`` of all ratings: from all that is known, from text and item, from text alone."""

    own: Floats
    everyone: Floats
    text: Floats


def by_us(stream: Stream, config: RatingsConfig, start: int) -> Predictions:
    """Predict as the learner does, in batches; the first one ends after `start` ratings, if any."""
    learner, signals = RatingLearner(config, stream.content.shape[1]), SignalsConfig()
    histories = Histories(StreamConfig().history_length)
    remembered = Signals(signals, histories.length).remembered
    learner.grow(len(stream.catalogue))
    parts = list[Floats]()
    for batch in _batches(stream.ratings, start):
        rows = np.array([stream.catalogue.row(event.item) for event in batch])
        everyone = RatedItems(_content(stream, rows), learner.effects(rows)).expected(learner.head)
        text = everyone - learner.effects(rows)
        found = list(new_ratings(batch, histories.of, stream.catalogue.row, config.history))
        learner.learn(found, lambda rows: _content(stream, rows))
        parts.append(np.stack([_in_order(batch, learner.errors.errors), everyone, text]))
        for event in batch:
            histories.fold(event.user, Act.of(event), remembered)
    errors, everyone, text = np.concatenate(parts, axis=1)
    return Predictions(stream.values + errors, *(np.clip(one, *_scale()) for one in (everyone, text)))


def _batches(ratings: Sequence[Interaction], start: int) -> Iterator[Sequence[Interaction]]:
    for end in range(start or BATCH, len(ratings) + BATCH, BATCH):
        yield ratings[max(0, end - BATCH) : end]


def _content(stream: Stream, rows: NDArray[np.int64]) -> Floats:
    return stream.content[rows].astype(np.float64)


def _in_order(batch: Sequence[Interaction], errors: Floats) -> Floats:
    """Put errors, which are user by user, into the order of their ratings."""
    by_user: dict[str, list[int]] = {}
    for place, event in enumerate(batch):
        by_user.setdefault(event.user, []).append(place)
    found = np.zeros(len(batch))
    found[np.concatenate(list(by_user.values()))] = errors
    return found


def mae(stream: Stream, predictions: Floats) -> float:
    """Mean absolute error over the whole stream."""
    return float(np.abs(predictions - stream.values).mean())


Figures = dict[str, dict[str, list[float]]]
"""By slice, ``mae`` and ``rmse`` of each seed."""


def errors(stream: Stream, runs: Sequence[Floats]) -> Figures:
    """Compute the errors of some runs by slice."""
    found: Figures = {}
    for name, chosen in stream.slices().items():
        wrong = [(predictions - stream.values)[chosen] for predictions in runs]
        absolute, squared = ([float(of(each).mean()) for each in wrong] for of in (np.abs, np.square))
        found[name] = {"mae": absolute, "rmse": np.sqrt(squared).tolist(), "n": [float(chosen.sum())]}
    return found


def show(figures: Mapping[str, Figures]) -> None:
    """Print the means over seeds, and the largest difference between two seeds over all ratings."""
    slices = list(next(iter(figures.values())))
    table = Table("predicted by", *(f"{name}: MAE / RMSE" for name in slices), "between seeds")
    for name, by_slice in figures.items():
        cells = [" / ".join(f"{np.mean(of[one]):.4f}" for one in ("mae", "rmse")) for of in by_slice.values()]
        table.add_row(name, *cells, f"{np.ptp(by_slice['all']['mae']):.4f}")
    Console(width=160).print(table)


def _scale() -> tuple[float, float]:
    config = RatingsConfig()
    return config.lowest, config.highest


def _is_new(name: str, known: set[str]) -> bool:
    is_new = name not in known
    known.add(name)
    return is_new


if __name__ == "__main__":
    typer.run(main)
