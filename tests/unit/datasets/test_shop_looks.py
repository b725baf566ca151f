"""Looks tell the style of the shop's items where the texts do not, or nothing at all."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.shop.catalogue import Floats, make_catalogue
from pipeline.datasets.shop.looks import NAME, SAMPLES, WIDTH, with_looks
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import Modality, ShopSettings
from pipeline.datasets.shop.shop import Shop
from pipeline.datasets.shop.words import STYLES
from pipeline.events import Interaction, Item

ITEMS = 600


def looks_and_styles(modality: Modality) -> tuple[Floats, np.ndarray]:
    settings = ShopSettings(items=ITEMS, modality=modality)
    plain = make_catalogue(ITEMS, generator(0, Purpose.CATALOGUE), tells_style=False)
    shown = with_looks(plain, settings)
    return np.array([item.vectors[NAME] for item in shown.items]), shown.style


def recognised(features: Floats, style: np.ndarray) -> float:
    """The share of the second half whose nearest mean of the first half is that of their style."""
    half = ITEMS // 2
    means = np.stack([features[:half][style[:half] == one].mean(axis=0) for one in range(len(STYLES))])
    distances = np.linalg.norm(features[half:, None] - means, axis=2)
    return float((distances.argmin(axis=1) == style[half:]).mean())


def test_a_vector_tells_the_style_and_noise_does_not() -> None:
    assert recognised(*looks_and_styles(Modality.VECTOR)) > 0.9
    assert recognised(*looks_and_styles(Modality.NOISE)) < 0.25
    assert looks_and_styles(Modality.VECTOR)[0].shape == (ITEMS, WIDTH)


def test_a_series_tells_the_style_by_its_spectrum_and_not_by_its_numbers() -> None:
    series, style = looks_and_styles(Modality.SERIES)
    assert series.shape == (ITEMS, SAMPLES)
    assert recognised(series, style) < 0.4
    assert recognised(np.abs(np.fft.rfft(series, axis=1)), style) > 0.6


@pytest.mark.parametrize("modality", Modality)
def test_what_users_choose_does_not_depend_on_what_tells_the_styles(modality: Modality) -> None:
    small = ShopSettings(events=200, users=40, items=120, arrivals=20, arrival_every=5, style=2.0)
    usual = [*Shop(small).events()]
    events = [*Shop(ShopSettings(**{**vars(small), "modality": modality})).events()]
    acts, others = (
        [(event.user, event.item, event.type) for event in each if isinstance(event, Interaction)]
        for each in (usual, events)
    )
    assert acts == others
    items = [event for event in events if isinstance(event, Item)]
    tells = [any(style.name in item.text or style.manner in item.text for style in STYLES) for item in items]
    assert all(tells) if modality is Modality.NONE else not any(tells)
    assert all(bool(item.vectors) == (modality is not Modality.NONE) for item in items)


def test_users_go_by_styles_as_much_as_they_are_weighed() -> None:
    def share_of_style(style: float) -> float:
        events = Shop(ShopSettings(events=2_000, users=20, items=240, arrivals=0, style=style)).events()
        title = dict[str, str]()
        runs = dict[str, list[str]]()
        for event in events:
            if isinstance(event, Item):
                title[event.item] = next(one.name for one in STYLES if event.title.startswith(one.name))
            elif isinstance(event, Interaction) and event.session:
                runs.setdefault(event.session, []).append(title[event.item])
        pairs = [pair for run in runs.values() for pair in zip(run, run[1:], strict=False)]
        return float(np.mean([one == other for one, other in pairs]))

    assert share_of_style(0) < share_of_style(1) < share_of_style(3)
