"""The probe finds what vectors tell, and nothing else; the encoders tell the styles of the shop's files."""

from __future__ import annotations

import numpy as np

from benchmarks.media import accuracy, measure
from pipeline.datasets.shop.words import STYLES


def test_the_probe_finds_what_is_there() -> None:
    rng = np.random.default_rng(0)
    styles = rng.integers(len(STYLES), size=600)
    vectors = np.eye(len(STYLES))[styles] + rng.normal(0, 0.1, (600, len(STYLES)))
    assert accuracy(vectors, styles) == 1
    assert accuracy(rng.permutation(vectors), styles) < 0.2


def test_an_encoder_tells_the_styles() -> None:
    figures = measure("speech-embedding", 120, 0)
    assert figures["accuracy"] > 0.5 > 3 * figures["of others"]
