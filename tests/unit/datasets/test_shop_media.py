"""Pictures and sounds of the shop: the same each time, and their style can be read from them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.datasets.shop.pictures import COLOURS, SIDE, picture
from pipeline.datasets.shop.sounds import LOWEST, RATE, STEP, sound
from pipeline.datasets.shop.words import STYLES
from pipeline.media.image import decoded as pixels_of
from pipeline.media.sound import decoded as samples_of

MADE = {"picture": picture, "sound": sound}


@pytest.mark.parametrize("name", MADE)
def test_they_follow_from_item_style_and_seed(name: str) -> None:
    made = MADE[name]
    found = made("85123A", 3, 7)
    assert found == made("85123A", 3, 7)
    assert len({found, made("85123B", 3, 7), made("85123A", 4, 7), made("85123A", 3, 8)}) == 4


def _colour(content: bytes) -> NDArray[np.int64]:
    """The middle of the pixels that are no background."""
    pixels = pixels_of(content, SIDE * SIDE).reshape(-1, 3).astype(np.int64)
    coloured = pixels[np.ptp(pixels, axis=1) > 60]
    return np.asarray(np.median(coloured, axis=0), dtype=np.int64)


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_colours_tell_styles_apart(style: int) -> None:
    found = _colour(picture("85123A", style))
    distances = [float(np.linalg.norm(found - np.array(colour))) for colour in COLOURS]
    assert int(np.argmin(distances)) == style % len(COLOURS)


def test_equal_colours_have_different_shapes() -> None:
    shares = []
    for style in range(0, len(STYLES), len(COLOURS)):
        pixels = pixels_of(picture("85123A", style), SIDE * SIDE).astype(np.int64)
        shares.append((np.ptp(pixels, axis=2) > 60).mean())
    cross, disc, square = sorted(shares)
    assert cross < disc < square, "of one size, at one place"
    assert disc / square == pytest.approx(np.pi / 4, abs=0.03)


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_pitches_tell_styles_apart(style: int) -> None:
    samples = samples_of(sound("85123A", style))
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    lowest = np.argmax(spectrum > spectrum.max() / 10) * RATE / samples.size
    assert np.log(lowest / LOWEST) / np.log(STEP) == pytest.approx(style, abs=0.4)
