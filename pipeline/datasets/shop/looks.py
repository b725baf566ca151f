"""Looks: what tells the style of an item in the simulated shop, where its text does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.datasets.shop.catalogue import Catalogue, Floats, Integers
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import Modality, ShopSettings
from pipeline.datasets.shop.words import STYLES

NAME = "look"
"""Of the vector."""
WIDTH = 32
"""Numbers of a vector."""
UNLIKE = 0.7
"""Length of what is an item's own in a vector, where that of its style is 1."""
SAMPLES = 192
"""Numbers of a series."""
FASTEST, SLOWER = 4.0, 1.25
"""Numbers in a turn of the wave of the first style, and how many times as many of each next style."""
UNEVEN = 0.5
"""Standard deviation of the noise in a series; the wave reaches from -1 to 1."""
DECIMALS = 3


def with_looks(catalogue: Catalogue, settings: ShopSettings) -> Catalogue:
    """Return a catalogue whose items have looks of the modality that the settings name; the same for none."""
    draw = _DRAW.get(settings.modality)
    if draw is None:
        return catalogue
    looks = draw(catalogue.style, generator(settings.seed, Purpose.LOOKS)).round(DECIMALS)
    shown = zip(catalogue.items, looks.tolist(), strict=True)
    return replace(
        catalogue,
        items=tuple(item.model_copy(update={"vectors": {NAME: tuple(look)}}) for item, look in shown),
    )


def _vectors(style: Integers, rng: np.random.Generator) -> Floats:
    directions = rng.normal(0, 1 / np.sqrt(WIDTH), (len(STYLES), WIDTH))
    return directions[style] + UNLIKE * _noise(style, rng)


def _noise(style: Integers, rng: np.random.Generator) -> Floats:
    return rng.normal(0, 1 / np.sqrt(WIDTH), (style.size, WIDTH))


def _series(style: Integers, rng: np.random.Generator) -> Floats:
    """Draw waves in the rhythm of the style; an item is a sine, a saw or a square, and begins anywhere."""
    turns = np.arange(SAMPLES) / (FASTEST * SLOWER ** style[:, None]) + rng.random((style.size, 1))
    saw = 2 * (turns % 1) - 1
    waves = np.stack([np.sin(2 * np.pi * turns), saw, np.sign(saw)])
    own = rng.integers(len(waves), size=style.size)
    return waves[own, np.arange(style.size)] + rng.normal(0, UNEVEN, turns.shape)


_DRAW: dict[Modality, Callable[[Integers, np.random.Generator], Floats]] = {
    Modality.VECTOR: _vectors,
    Modality.SERIES: _series,
    Modality.NOISE: _noise,
}
