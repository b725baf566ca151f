"""A series is encoded by its waves, not by where they begin, how high they are, or how long it is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.shop.catalogue import make_catalogue
from pipeline.datasets.shop.looks import NAME, with_looks
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import Modality, ShopSettings
from pipeline.model.content.series import LONGEST, TAPS, encode_series

WIDTH = 64
PINNED = [-0.001486, -0.155889, -0.139678]


def wave(turn: float, length: int = 200, begin: float = 0.0, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.sin(2 * np.pi * (np.arange(length) / turn + begin)) + noise * random.standard_normal(length)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(encode_series(one.tolist(), WIDTH) @ encode_series(other.tolist(), WIDTH))


def test_a_vector_has_length_one_and_is_the_same_each_time() -> None:
    found = encode_series(wave(7).tolist(), WIDTH)
    assert found.shape == (WIDTH,)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(found, encode_series(wave(7).tolist(), WIDTH))
    assert found[:3].tolist() == pytest.approx(PINNED, abs=1e-5), "vectors in logs keep their meaning"


def test_where_it_begins_and_its_scale_and_length_do_not_count() -> None:
    for other in (wave(7, begin=0.3), 1e6 * wave(7) - 3e6, wave(7, length=150), wave(7, noise=0.1)):
        assert alike(wave(7), other) > 0.9
    assert alike(wave(7), wave(19)) < 0.6
    assert alike(wave(7), np.sign(wave(19))) < 0.6


def test_what_has_no_waves_is_zero() -> None:
    for flat in ([3.0] * 20, [0.0] * 9, [1e308] * 9):
        assert not encode_series(flat, WIDTH).any()
    assert np.isfinite(encode_series([1e308, -1e308] * 10, WIDTH)).all()
    assert np.isfinite(encode_series([1e-308, 0.0] * 10, WIDTH)).all()


@pytest.mark.parametrize(
    "series", [[], [1.0] * (TAPS - 1), [1.0] * (LONGEST + 1), [1.0] * 10 + [np.nan], [np.inf] * 10]
)
def test_what_is_no_series_is_refused(series: list[float]) -> None:
    with pytest.raises(ValueError, match="a series has from 9 to 65536 numbers, all finite"):
        encode_series(series, WIDTH)


def test_the_series_of_the_shop_tell_their_styles() -> None:
    catalogue = make_catalogue(400, generator(0, Purpose.CATALOGUE), tells_style=False)
    shown = with_looks(catalogue, ShopSettings(modality=Modality.SERIES))
    vectors = np.stack([encode_series(item.vectors[NAME], WIDTH) for item in shown.items])
    means = np.stack([vectors[:200][shown.style[:200] == style].mean(axis=0) for style in range(12)])
    found = np.linalg.norm(vectors[200:, None] - means, axis=2).argmin(axis=1)
    assert (found == shown.style[200:]).mean() > 0.9
