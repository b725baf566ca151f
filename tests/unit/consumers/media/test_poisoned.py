"""Poisoned media, from a real host and by the real process that encodes: refused, counted, passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MediaReason
from pipeline.media.encoder import LAST_DIGIT
from pipeline.media.encoder_process import EncoderProcess
from pipeline.media.encoders import load_encoder
from pipeline.metrics import Series, value_of
from tests.support.media_files import nan_sound, picture, png_of, sound, sound_at, text_bomb
from tests.support.media_harness import MediaHarness, vectors_of
from tests.support.media_host import MediaHost

PHOTOS: dict[str, tuple[Callable[[MediaHost], str], MediaReason]] = {
    "decompression bomb": (lambda host: host.put("/p1", png_of(60_000, 60_000, 1)), MediaReason.TOO_LARGE),
    "bomb in a text": (lambda host: host.put("/p2", text_bomb()), MediaReason.DAMAGED),
    "packed on the way": (
        lambda host: host.put("/p3", b"\x1f\x8b" + bytes(99), Content_Encoding="gzip"),
        MediaReason.WRONG_TYPE,
    ),
    "a page that says it is a picture": (
        lambda host: host.put("/p4", b"<html>", Content_Type="image/png"),
        MediaReason.WRONG_TYPE,
    ),
    "a sound": (lambda host: host.put("/p5", sound()), MediaReason.WRONG_TYPE),
    "cut off": (lambda host: host.put("/p6", picture(side=200)[:120]), MediaReason.DAMAGED),
    "endless": (lambda host: host.endless("/p7"), MediaReason.TOO_LARGE),
    "1 GB": (lambda host: host.put("/p8", b"", Content_Length=str(1 << 30)), MediaReason.TOO_LARGE),
    "a slow host": (lambda host: host.drip("/p9"), MediaReason.TOO_SLOW),
    "inside the network": (
        lambda host: host.redirect("/p10", "http://169.254.169.254/latest/meta-data"),
        MediaReason.HOST,
    ),
    "in a circle": (lambda host: host.redirect("/p11", "/p11"), MediaReason.REDIRECTS),
    "not there": (lambda host: host.url("/p12"), MediaReason.STATUS),
    "empty": (lambda host: host.put("/p13", b""), MediaReason.EMPTY),
}
SOUNDS: dict[str, tuple[Callable[[MediaHost], str], MediaReason]] = {
    "no number": (lambda host: host.put("/s1", nan_sound()), MediaReason.OUT_OF_BOUNDS),
    "a rate of a million": (lambda host: host.put("/s2", sound_at(1_000_000)), MediaReason.OUT_OF_BOUNDS),
    "a rate of 1": (lambda host: host.put("/s3", sound_at(1)), MediaReason.OUT_OF_BOUNDS),
    "a picture": (lambda host: host.put("/s4", picture()), MediaReason.WRONG_TYPE),
}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[MediaHarness]:
    encoders = {"photo": "efficientnet-lite0", "sound": "speech-embedding"}
    limits: dict[str, Any] = {"attempts": 1, "fetch_seconds": 2, "max_bytes": 1 << 20}
    with MediaHost() as host, MediaHarness(tmp_path, host, encoders=encoders, **limits) as made:
        yield made


def test_poisoned_media_cost_their_items_a_vector_and_nobody_else_anything(
    harness: MediaHarness, exposed: Callable[[], Series]
) -> None:
    before = {reason: _refused(exposed, reason) for reason in MediaReason}
    for name, media in {"photo": PHOTOS, "sound": SOUNDS}.items():
        for what, (put, _) in media.items():
            harness.send(f"{name}: {what}", title=what, media={name: put(harness.host)})
    harness.send(
        "good",
        title="Good",
        media={"photo": harness.host.put("/good", picture()), "sound": harness.host.put("/ring", sound())},
    )
    with closing(EncoderProcess(harness.config)) as process:
        harness.encoder = process
        harness.settle()
    good = vectors_of(harness.item("good"))
    encoded = {
        "photo": load_encoder("efficientnet-lite0", harness.config).encode(picture()),
        "sound": load_encoder("speech-embedding", harness.config).encode(sound()),
    }
    assert good.keys() == encoded.keys()
    assert all(good[name] == pytest.approx(vector, abs=LAST_DIGIT) for name, vector in encoded.items())
    reasons = [*(reason for _, reason in PHOTOS.values()), *(reason for _, reason in SOUNDS.values())]
    assert {reason: _refused(exposed, reason) - before[reason] for reason in MediaReason} == {
        reason: reasons.count(reason) for reason in MediaReason
    }
    assert harness.records == len(PHOTOS) + len(SOUNDS) + 2


def _refused(exposed: Callable[[], Series], reason: MediaReason) -> float:
    return value_of(exposed(), "millstream_refused_media_total", reason=reason)
