"""Decode sounds within bounds: the first seconds, of one channel, at the rate that encoders read."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from pipeline.errors import MediaReason, MediaRefused
from pipeline.media.formats import Medium, check_medium

RATE = 16_000
"""Samples a second that most encoders read."""
SECONDS = 10
"""Of a sound that are read."""
RATES = (4_000, 192_000)
MOST_CHANNELS = 16
UNKNOWN_LENGTH = 0x7FFFF000
"""Bytes of samples that no file within `media.max_bytes` has."""
LOUDEST = 8.0
"""A sample of a file in floating point may exceed 1 a little."""


def decoded(content: bytes, to: int = RATE) -> NDArray[np.float32]:
    """Decode the first `SECONDS` of a sound to samples ``[n]`` from -1 to 1, so many a second.

    Raises:
        MediaRefused: it is damaged, of another format, or its rate, channels or samples are out of bounds.
    """
    check_medium(content, Medium.SOUND)
    _check_whole(content)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as opened:
            rate = _checked_rate(opened.samplerate, opened.channels)
            samples = opened.read(SECONDS * rate, dtype="float32", always_2d=True)
    except MediaRefused:
        raise
    except MemoryError:
        raise MediaRefused(MediaReason.TOO_LARGE, "out of memory") from None
    except Exception as error:  # soundfile's own, and others of what it is given
        raise MediaRefused(MediaReason.DAMAGED, f"{type(error).__name__}: {error}"[:200]) from None
    return _resampled(_checked(samples), rate, to)


def _check_whole(content: bytes) -> None:
    """Refuse a WAV file whose samples are cut off, of which libsndfile reads what there is.

    A length that a writer did not know, as in a pipe, is zero or nearly 4 GB.
    """
    at = 12
    while content[:4] == b"RIFF" and at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        at += 8
        if name == b"data":
            if at + size > len(content) and size < UNKNOWN_LENGTH:
                text = f"cut off: it holds {len(content) - at:,} of {size:,} bytes of samples"
                raise MediaRefused(MediaReason.DAMAGED, text)
            return
        at += size + size % 2


def _checked_rate(rate: int, channels: int) -> int:
    if not RATES[0] <= rate <= RATES[1]:
        text = f"{rate} samples a second, not from {RATES[0]} to {RATES[1]}"
        raise MediaRefused(MediaReason.OUT_OF_BOUNDS, text)
    if channels > MOST_CHANNELS:
        raise MediaRefused(MediaReason.OUT_OF_BOUNDS, f"{channels} channels, more than {MOST_CHANNELS}")
    return rate


def _checked(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Check samples ``[n, channels]``; return them as ``[n]``."""
    if not samples.size:
        raise MediaRefused(MediaReason.DAMAGED, "no samples")
    if not np.isfinite(samples).all() or np.abs(samples).max() > LOUDEST:
        raise MediaRefused(MediaReason.OUT_OF_BOUNDS, "samples that are no numbers, or far beyond 1")
    return np.asarray(samples.mean(axis=1).clip(-1, 1))


def _resampled(samples: NDArray[np.float32], rate: int, to: int) -> NDArray[np.float32]:
    if rate == to:
        return samples
    common = math.gcd(rate, to)
    return np.asarray(resample_poly(samples, to // common, rate // common), dtype=np.float32)
