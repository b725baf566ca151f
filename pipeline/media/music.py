"""Encode music by Basic Pitch (Bittner et al. 2022, "A lightweight instrument-agnostic model for polyphonic
note transcription and multipitch estimation"): which notes sound, how unevenly, and which begin.

For each of the piano's 88 keys, the network says how likely it sounds and how likely it begins, 86 times a
second. Of a sound, the mean and the spread of the first are kept, and the mean of the second.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.media.encoder import Vector, unit
from pipeline.media.sound import SECONDS, decoded

RATE = 22_050
"""Samples a second that the network reads."""
WINDOW = 43_844
"""Samples that it reads at a time; a shorter sound is followed by silence."""
HOP = 256
"""Samples from one output to the next."""
INPUT = "serving_default_input_2:0"
NOTES, ONSETS = "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"


class MusicEncoder:
    """Encodes a sound's first seconds."""

    def __init__(self, model: Path, centre: Vector) -> None:
        """Load the network."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._network = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._centre = centre

    def encode(self, content: bytes) -> Vector:
        """See `ContentEncoder.encode`."""
        notes, onsets = self._transcribed(decoded(content, RATE)[: SECONDS * RATE])
        found = np.concatenate([notes.mean(axis=0), notes.std(axis=0), onsets.mean(axis=0)])
        return unit(unit(found) - self._centre)

    def _transcribed(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return notes and onsets ``[m, 88]`` of samples ``[n]``, from 0 to 1."""
        windows = np.pad(samples, (0, -len(samples) % WINDOW)).reshape(-1, WINDOW, 1)
        found = [self._network.run([NOTES, ONSETS], {INPUT: window[None]}) for window in windows]
        notes, onsets = (np.concatenate(part, axis=1)[0] for part in zip(*found, strict=True))
        end = -(-len(samples) // HOP)
        return notes[:end], onsets[:end]
