"""The process that encodes: what ends or stalls it is refused, and the next file is encoded."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection

import numpy as np
import pytest

from pipeline.config import EncoderName, MediaConfig
from pipeline.errors import EncoderUnavailable, MediaReason, MediaRefused
from pipeline.media.encoder import LAST_DIGIT
from pipeline.media.encoder_process import READY, EncoderProcess
from pipeline.media.encoders import load_encoder
from tests.support.media_files import picture, png_of

IMAGE: EncoderName = "efficientnet-lite0"


def misbehave(connection: Connection, config: MediaConfig) -> None:
    """Do what a content says, as a decoder does that a file has taken over."""
    connection.send(READY)
    while True:
        _, content = connection.recv()
        if content == b"end":
            os._exit(1)
        if content == b"stall":
            time.sleep(600)
        connection.send([float(len(content))])


def not_begin(connection: Connection, config: MediaConfig) -> None:
    """End at once."""


@pytest.fixture
def process() -> Iterator[EncoderProcess]:
    with closing(EncoderProcess(MediaConfig(encode_seconds=2), misbehave)) as made:
        yield made


@pytest.mark.parametrize(
    ("content", "expected"), [(b"end", MediaReason.CRASHED), (b"stall", MediaReason.TOO_LARGE)]
)
def test_another_process_takes_its_place(
    process: EncoderProcess, content: bytes, expected: MediaReason
) -> None:
    assert process.encode(IMAGE, b"abc").tolist() == [3]
    with pytest.raises(MediaRefused) as refused:
        process.encode(IMAGE, content)
    assert refused.value.reason is expected
    assert process.encode(IMAGE, b"abcd").tolist() == [4]


def test_a_process_that_does_not_begin_is_no_fault_of_the_file() -> None:
    with closing(EncoderProcess(MediaConfig(), not_begin)) as made, pytest.raises(EncoderUnavailable):
        made.encode(IMAGE, b"abc")


def test_it_encodes_as_the_encoder_does() -> None:
    config = MediaConfig(encoders={"photo": IMAGE})
    with closing(EncoderProcess(config)) as made:
        with pytest.raises(MediaRefused, match="^too_large"):
            made.encode(IMAGE, png_of(60_000, 60_000, 1))
        found = made.encode(IMAGE, picture())
    here = load_encoder(IMAGE, config).encode(picture())
    assert np.allclose(found, here, rtol=0, atol=LAST_DIGIT)
