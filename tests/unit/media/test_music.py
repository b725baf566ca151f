"""Music: equal notes have equal vectors, and near sounds of other notes others."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import MediaConfig
from pipeline.errors import InvalidSettings, MediaRefused
from pipeline.media.encoder import ContentEncoder
from pipeline.media.encoders import ENCODERS, load_encoder
from pipeline.media.music import HOP, RATE, WINDOW, MusicEncoder
from pipeline.media.weights import BASIC_PITCH
from tests.support.media_files import picture, sound, waves

NAME = "basic-pitch"
KEYS = 88


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    return load_encoder(NAME, MediaConfig())


def test_equal_sounds_have_equal_vectors_of_length_1(encoder: ContentEncoder) -> None:
    vector = encoder.encode(sound(440))
    assert vector.shape == (ENCODERS[NAME].width,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    encoder.encode(sound(1_500, seconds=3))
    assert np.array_equal(vector, encoder.encode(sound(440)))


@pytest.mark.parametrize(("hertz", "key"), [(440, 48), (261.63, 39), (880, 60)])
def test_the_note_that_sounds_is_heard(hertz: float, key: int) -> None:
    plain = MusicEncoder(BASIC_PITCH.locate(), np.zeros(ENCODERS[NAME].width))
    assert plain.encode(sound(hertz, seconds=1.5))[:KEYS].argmax() == key


def test_a_melody_is_near_itself_on_another_day_and_far_from_another(encoder: ContentEncoder) -> None:
    def melody(*hertz: float, loudness: float = 0.4) -> bytes:
        times = np.arange(RATE // 2) / RATE
        parts = [loudness * np.sin(2 * np.pi * one * times) for one in hertz]
        return waves(np.concatenate(parts), RATE)

    one, quieter, other = (
        encoder.encode(made)
        for made in (
            melody(440, 554, 659),
            melody(440, 554, 659, loudness=0.2),
            melody(466, 622, 740),
        )
    )
    assert one @ quieter > 0.8
    assert one @ quieter > one @ other + 0.3


@pytest.mark.parametrize("size", [1, HOP, WINDOW, WINDOW + 1])
def test_sounds_of_any_length_have_a_vector(encoder: ContentEncoder, size: int) -> None:
    found = encoder.encode(waves(np.full(size, 0.1), RATE))
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-4)


def test_a_picture_is_refused(encoder: ContentEncoder) -> None:
    with pytest.raises(MediaRefused):
        encoder.encode(picture())


def test_a_package_that_is_missing_is_named_with_how_to_install_it() -> None:
    with pytest.raises(InvalidSettings, match="not_here is not installed: pip install --no-deps basic"):
        BASIC_PITCH._replace(package="not_here").locate()
