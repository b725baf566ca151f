"""Predictions are compared rating by rating, in the order of the stream, whoever makes them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ratings import GRIDS, Floats, Stream, by_river, by_us, errors, item_means
from pipeline.config import RatingsConfig
from pipeline.events import Interaction, InteractionType, Item
from pipeline.state.catalogue import Catalogue

USERS, ITEMS, RATINGS = 7, 9, 600
CONTENT: Floats = np.random.default_rng(0).normal(size=(ITEMS, 4)) / 2


@pytest.fixture(scope="module")
def stream() -> Stream:
    """Users in turns whose ratings differ by user alone."""
    catalogue = Catalogue()
    for item in range(ITEMS):
        catalogue.upsert(Item(item=f"i{item}", title=f"item {item}"))
    ratings = [
        Interaction(
            event_id=f"e{n}",
            user=f"u{n % USERS}",
            item=f"i{n // USERS % ITEMS}",
            type=InteractionType.RATING,
            time=n,
            value=2.0 + n % USERS / 2,
        )
        for n in range(RATINGS)
    ]
    return Stream(ratings, catalogue, CONTENT.astype(np.float16))


def test_ours_are_in_the_order_of_the_stream(stream: Stream) -> None:
    own, everyone, text = by_us(stream, RatingsConfig(), start=100)
    late = slice(200, None)
    assert np.abs(own - stream.values)[late].max() < 0.5
    assert np.abs(everyone - stream.values)[late].max() > 1
    assert np.abs(text - everyone)[late].max() < 0.5
    assert own.shape == everyone.shape == text.shape == (RATINGS,)


def test_item_means_are_of_earlier_ratings(stream: Stream) -> None:
    found, values = item_means(stream), stream.values
    assert found[:3].tolist() == [2.75, values[0], values[:2].mean()]
    assert found[USERS] == values[:USERS].mean(), "nobody has rated this item"


@pytest.mark.parametrize("name", GRIDS)
def test_rivers_predictions_are_of_the_scale_and_of_their_seed(stream: Stream, name: str) -> None:
    settings = GRIDS[name][-1]
    found = by_river(stream, name, settings, 0)
    assert np.array_equal(found, by_river(stream, name, settings, 0))
    assert ((found >= 0.5) & (found <= 5)).all()


def test_errors_are_by_slice(stream: Stream) -> None:
    found = errors(stream, [stream.values + 1, stream.values - 3])
    assert {name: of["n"] for name, of in found.items()} == {
        "all": [RATINGS],
        "first of a user": [USERS],
        "first of an item": [ITEMS],
    }
    assert all(of["mae"] == of["rmse"] == pytest.approx([1, 3]) for of in found.values())
