"""Sounds: equal ones have equal vectors, near pitches near ones; poisoned ones are refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import MediaConfig
from pipeline.errors import MediaReason, MediaRefused
from pipeline.media.encoder import ContentEncoder
from pipeline.media.encoders import ENCODERS, load_encoder
from pipeline.media.sound import RATE, SECONDS, decoded
from tests.support.media_files import nan_sound, picture, sound, sound_at, waves


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    return load_encoder("speech-embedding", MediaConfig())


def test_equal_sounds_have_equal_vectors_of_length_1(encoder: ContentEncoder) -> None:
    vector = encoder.encode(sound(440))
    assert vector.shape == (ENCODERS["speech-embedding"].width,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    encoder.encode(sound(1_500, seconds=3))  # what came before leaves no trace
    assert np.array_equal(vector, encoder.encode(sound(440)))


def test_near_pitches_have_near_vectors(encoder: ContentEncoder) -> None:
    low, also_low, high = (encoder.encode(sound(hertz)) for hertz in (300, 310, 1_500))
    assert low @ also_low > low @ high


@pytest.mark.parametrize(
    ("rate", "kind"),
    [(44_100, "WAV"), (16_000, "FLAC"), (22_050, "OGG"), (8_000, "WAV"), (11_025, "MP3")],
)
def test_rate_and_format_hardly_matter(encoder: ContentEncoder, rate: int, kind: str) -> None:
    assert encoder.encode(sound(440)) @ encoder.encode(sound(440, rate, kind=kind)) > 0.95


def test_a_short_or_silent_sound_has_a_vector(encoder: ContentEncoder) -> None:
    for one in (sound(seconds=0.01), waves(np.zeros(RATE))):
        assert np.linalg.norm(encoder.encode(one)) == pytest.approx(1, abs=1e-4)


def test_the_first_seconds_of_one_channel_are_read() -> None:
    long = np.stack([np.full(20 * 8_000, 0.5), np.zeros(20 * 8_000)], axis=1)
    found = decoded(waves(long, 8_000))
    assert found.shape == (SECONDS * RATE,)
    assert found[RATE] == pytest.approx(0.25, abs=0.01)


def test_a_sound_whose_writer_did_not_know_its_length_is_read() -> None:
    made = bytearray(sound())
    at = made.index(b"data") + 4
    made[at : at + 4] = b"\xff\xff\xff\xff"
    assert np.array_equal(decoded(bytes(made)), decoded(sound()))


POISONED = {
    "no number": (nan_sound(), MediaReason.OUT_OF_BOUNDS),
    "far too loud": (waves(np.full(100, 1e30), subtype="FLOAT"), MediaReason.OUT_OF_BOUNDS),
    "a rate of billions": (sound_at(4_000_000_000), MediaReason.DAMAGED),
    "a rate of a million": (sound_at(1_000_000), MediaReason.OUT_OF_BOUNDS),
    "a rate of 1": (sound_at(1), MediaReason.OUT_OF_BOUNDS),
    "a rate of 0": (sound_at(0), MediaReason.DAMAGED),
    "too many channels": (waves(np.zeros((10, 32))), MediaReason.OUT_OF_BOUNDS),
    "cut off in the header": (sound()[:20], MediaReason.DAMAGED),
    "cut off": (sound(kind="FLAC")[:60], MediaReason.DAMAGED),
    "cut off within the samples": (sound()[:-3_000], MediaReason.DAMAGED),
    "without samples": (waves(np.zeros(0)), MediaReason.DAMAGED),
    "nothing": (b"", MediaReason.EMPTY),
    "a picture": (picture(), MediaReason.WRONG_TYPE),
    "a page": (b"<html></html>", MediaReason.WRONG_TYPE),
}


@pytest.mark.parametrize("name", POISONED)
def test_a_poisoned_sound_is_refused(name: str) -> None:
    content, expected = POISONED[name]
    with pytest.raises(MediaRefused) as refused:
        decoded(content)
    assert refused.value.reason is expected
