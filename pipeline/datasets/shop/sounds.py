"""Sounds of the shop's items: their pitch tells the style, all else is the item's own."""

from __future__ import annotations

import io
import wave

import numpy as np

from pipeline.datasets.shop.catalogue import Floats
from pipeline.datasets.shop.randomness import of_item

RATE = 16_000
"""Samples a second."""
LOWEST = 180.0
"""Hertz of the first style."""
STEP = 1.25
"""From the pitch of one style to that of the next: about four semitones."""
DETUNED = 0.02
"""Standard deviation of an item's own pitch, in natural logarithms; a step is .22."""
NOISE = 0.05
"""Standard deviation, beside a tone of 1."""
OVERTONES = 4
SHORTEST, LONGEST = 0.8, 1.6
"""Seconds."""


def sound(item: str, style: int, seed: int = 0) -> bytes:
    """Play an item's sound, as WAV of one channel; the same each time."""
    rng = of_item(seed, item)
    hertz = LOWEST * STEP**style * np.exp(rng.normal(0, DETUNED))
    times = np.arange(int(rng.uniform(SHORTEST, LONGEST) * RATE)) / RATE
    order = np.arange(1, OVERTONES + 1)
    loudness = rng.uniform(0.2, 1, OVERTONES) / order * (order * hertz < RATE / 2)
    phases = 2 * np.pi * (hertz * times[:, None] * order + rng.random(OVERTONES))
    tone = np.sin(phases) @ (loudness / loudness.sum()) + rng.normal(0, NOISE, times.size)
    return _wav(0.5 * rng.uniform(0.3, 1) * tone)


def _wav(samples: Floats) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(RATE)
        opened.writeframes((samples.clip(-1, 1) * 32_767).astype("<i2").tobytes())
    return file.getvalue()
