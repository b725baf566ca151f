"""The comparison of modalities: series are encoded by their producer, and both runs learn one stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import modalities
from benchmarks.modalities import Carrier, shop_of, styles_of
from pipeline.datasets.shop.looks import NAME
from pipeline.datasets.shop.settings import ShopSettings
from pipeline.datasets.shop.shop import Shop
from pipeline.datasets.shop.words import STYLES
from pipeline.events import Interaction, Item
from tests.support.learners_made import keep_learners
from tests.support.model_harness import tiny_settings

SHOP = ShopSettings(events=300, users=20, items=100, arrivals=20, arrival_every=10)


SMALL = ShopSettings(events=5, items=100, arrivals=0)


@pytest.mark.parametrize("carrier", [Carrier.SERIES, Carrier.AUDIO])
def test_what_a_producer_encodes_reaches_the_learner_as_vectors(carrier: Carrier) -> None:
    shop, declared = shop_of(carrier, SMALL)
    items = [event for event in shop.events() if isinstance(event, Item)]
    lengths = [sum(number**2 for number in item.vectors[NAME]) for item in items]
    assert lengths == pytest.approx([1] * 100, abs=0.01)
    assert declared == {"vectors": {NAME: len(items[0].vectors[NAME])}}
    assert sum(isinstance(event, Interaction) for event in shop.events()) == 5


def test_styles_are_those_that_the_shop_sells() -> None:
    """The titles of the same shop tell them, where they may."""
    titles = {event.item: event.title for event in Shop(SMALL).events() if isinstance(event, Item)}
    styles = styles_of(SMALL)
    assert styles.keys() == titles.keys()
    assert all(titles[item].startswith(STYLES[style].name) for item, style in styles.items())


@pytest.mark.parametrize("carrier", [Carrier.SERIES, Carrier.NOISE, Carrier.BRAND, Carrier.RELATION])
def test_both_runs_learn_one_stream_and_one_of_them_its_vectors(
    tmp_path: Path, backbone_folder: Path, monkeypatch: pytest.MonkeyPatch, carrier: Carrier
) -> None:
    learners = keep_learners(modalities, tiny_settings(tmp_path, backbone_folder), monkeypatch)
    monkeypatch.setattr(modalities, "SHOP", SHOP)
    report = tmp_path / "report.json"
    modalities.main(carrier, seeds=1, events=300, cache=tmp_path, report=report)
    without, with_it = learners
    assert without.recommender.fusion.figures() == {}
    assert [found.length > 0 for found in with_it.recommender.fusion.figures().values()] == [True]
    assert without.stream.events == with_it.stream.events == 300
    assert '"modality": null' in report.read_text()
