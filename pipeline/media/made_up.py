"""Pictures and sounds that were made up, none of them anybody's: over them, encoders are centred."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

COUNT = 96
"""Media for an encoder."""
SIDE = 128
"""Pixels."""
RATE = 16_000
LOG_HERTZ = np.log(80), np.log(4_000)
Floats = NDArray[np.float64]
Random = np.random.Generator


def pictures() -> Iterator[bytes]:
    """Make up pictures, as PNG: a thing before a light wall, as a shop shows it."""
    from PIL import Image  # noqa: PLC0415 (of the extra)

    for number in range(COUNT):
        pixels = _thing(np.random.default_rng(number)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        yield file.getvalue()


def _thing(rng: Random) -> Floats:
    """Draw a lozenge, an ellipse or a box: ``[SIDE, SIDE, 3]``."""
    pixels = np.full((SIDE, SIDE, 3), rng.uniform(180, 255))
    across = np.linspace(-1, 1, SIDE)
    width, height = rng.uniform(0.25, 0.7, 2)
    left, top = rng.uniform(-0.3, 0.3, 2)
    x, y = np.abs((across[None, :] - left) / width), np.abs((across[:, None] - top) / height)
    roundness = rng.choice([1.0, 2.0, 8.0])
    pixels[x**roundness + y**roundness < 1] = rng.uniform(0, 255, 3)
    return np.asarray(pixels + rng.normal(0, 10, pixels.shape))


def sounds() -> Iterator[bytes]:
    """Make up sounds, as WAV: a tone, its octave, and noise."""
    import soundfile  # noqa: PLC0415 (of the extra)

    for number in range(COUNT):
        rng = np.random.default_rng(number)
        seconds = np.arange(int(rng.uniform(0.8, 2) * RATE)) / RATE
        turns = 2 * np.pi * np.exp(rng.uniform(*LOG_HERTZ)) * seconds
        tone = np.sin(turns) + rng.random() * np.sin(2 * turns)
        file = io.BytesIO()
        soundfile.write(file, 0.3 * tone + rng.normal(0, 0.03, tone.size), RATE, format="WAV")
        yield file.getvalue()
