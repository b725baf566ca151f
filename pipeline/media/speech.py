"""Encode sounds by the speech embedding of Lin et al. 2020, "Training keyword spotters with limited and
synthesized speech data": one vector of 96 for each 0.8 s, every 80 ms, of which mean and spread are kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyopen_wakeword import OpenWakeWordFeatures

from pipeline.media.encoder import Vector, unit
from pipeline.media.sound import RATE, SECONDS, decoded

FULL_SCALE = 32_767
LEAST = RATE
"""Samples that make a vector; a shorter sound is followed by silence."""


class SpeechEncoder:
    """Encodes a sound's first seconds."""

    def __init__(self, melspectrogram: Path, embedding: Path, centre: Vector) -> None:
        """Load the models."""
        self._centre = centre
        library = next(melspectrogram.parent.parent.glob("lib/*tensorflowlite_c.*"))
        self._features = OpenWakeWordFeatures(melspectrogram, embedding, library)

    def encode(self, content: bytes) -> Vector:
        """See `ContentEncoder.encode`."""
        found = self._embeddings(decoded(content)[: SECONDS * RATE])
        return unit(unit(np.concatenate([found.mean(axis=0), found.std(axis=0)])) - self._centre)

    def _embeddings(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return embeddings ``[m, 96]`` of samples ``[n]``."""
        filled = np.pad(samples, (0, max(0, LEAST - len(samples))))
        self._features.reset()
        self._features.new_audio_samples = 0  # else it begins with seconds of silence
        chunk = (filled * FULL_SCALE).astype(np.int16).tobytes()
        return np.stack([one.reshape(-1) for one in self._features.process_streaming(chunk)])
