"""Centres: what is kept is what the made-up media give, and vectors are around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest

from benchmarks.media import MADE
from pipeline.config import EncoderName, MediaConfig
from pipeline.media.centres import centre
from pipeline.media.encoder import LAST_DIGIT
from pipeline.media.encoders import ENCODERS, load_encoder
from pipeline.media.reference import MADE_UP


@pytest.mark.parametrize("name", ENCODERS)
def test_the_centre_that_is_kept_is_that_of_the_made_up_media(name: EncoderName) -> None:
    spec = ENCODERS[name]
    encoder = spec.make(MediaConfig(), np.zeros(spec.width))
    found = np.mean([encoder.encode(medium) for medium in MADE_UP[spec.medium]()], axis=0)
    assert found == pytest.approx(centre(name), abs=LAST_DIGIT)


@pytest.mark.parametrize("name", ENCODERS)
def test_vectors_of_unlike_items_are_nearly_at_right_angles(name: EncoderName) -> None:
    encoder = load_encoder(name, MediaConfig())
    vectors = np.stack([encoder.encode(MADE[name](str(item), item, 0)) for item in range(12)])
    cosines = (vectors @ vectors.T)[~np.eye(12, dtype=bool)]
    assert cosines.mean() < 0.5


@pytest.mark.parametrize("make", MADE_UP.values())
def test_made_up_media_are_the_same_each_time_and_unlike_each_other(
    make: Callable[[], Iterator[bytes]],
) -> None:
    first, again = (list(islice(make(), 5)) for _ in range(2))
    assert first == again
    assert len(set(first)) == 5
