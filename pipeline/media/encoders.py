"""The encoders by name. Their models are loaded only where something is encoded; to know them needs no torch.

A vector of another encoder, or of another release of one, lies in another space: its digest says which.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from pipeline.config import EncoderName, MediaConfig
from pipeline.errors import InvalidSettings
from pipeline.media.centres import centre
from pipeline.media.encoder import ContentEncoder, Vector
from pipeline.media.formats import Medium
from pipeline.media.weights import (
    BASIC_PITCH,
    EFFICIENTNET,
    INSTALL,
    MELSPECTROGRAM,
    SPEECH,
    VisionFolder,
    Weights,
    vision_folder,
)


class EncoderSpec(NamedTuple):
    """What is known of an encoder without loading it.

    Attributes:
        medium: what it reads.
        width: of its vectors.
        modules: that it imports, beside torch.
        release: changes when its vectors do, though its weights stay.
        make: loads it, to centre its vectors at one.
    """

    medium: Medium
    width: int
    weights: tuple[Weights | VisionFolder, ...]
    modules: tuple[str, ...]
    release: int
    make: Callable[[MediaConfig, Vector], ContentEncoder]

    @property
    def digest(self) -> str:
        """Name of the space of the vectors: weights, and all that is done before and after them."""
        parts = "\0".join((*(one.sha256 for one in self.weights), str(self.release)))
        return hashlib.sha256(parts.encode()).hexdigest()[:32]

    def check(self) -> None:
        """Check that it can be loaded.

        Raises:
            InvalidSettings: a package is not installed, or has other weights.
        """
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                raise InvalidSettings(f"the package of {module} is not installed: {INSTALL}")
        for one in self.weights:
            one.locate()


def load_encoder(name: EncoderName, config: MediaConfig) -> ContentEncoder:
    """Load an encoder.

    Raises:
        InvalidSettings: see `spec_of` and `EncoderSpec.check`.
    """
    spec = spec_of(name)
    return spec.make(config, centre(name) if name in ENCODERS else np.zeros(spec.width))


@cache
def spec_of(name: EncoderName, *, download: bool = True) -> EncoderSpec:
    """Return what is known of an encoder by name, or of a vision model by its folder or name on the hub.

    A model is read once, and downloaded once, if it may be.

    Raises:
        InvalidSettings: there is no such model, or it reads no pictures.
    """
    return ENCODERS.get(name) or _vision(VisionFolder.of(vision_folder(name, download=download)))


def _vision(model: VisionFolder) -> EncoderSpec:
    def make(config: MediaConfig, _: Vector) -> ContentEncoder:
        from pipeline.media.vision import VisionEncoder  # noqa: PLC0415

        return VisionEncoder(model, config.max_pixels)

    return EncoderSpec(Medium.IMAGE, 256, (model,), ("PIL",), 1, make)


def _image(config: MediaConfig, at: Vector) -> ContentEncoder:
    from pipeline.media.image import ImageEncoder  # noqa: PLC0415

    return ImageEncoder(EFFICIENTNET.locate(), config.max_pixels, at)


def _speech(_: MediaConfig, at: Vector) -> ContentEncoder:
    from pipeline.media.speech import SpeechEncoder  # noqa: PLC0415

    return SpeechEncoder(MELSPECTROGRAM.locate(), SPEECH.locate(), at)


def _music(_: MediaConfig, at: Vector) -> ContentEncoder:
    from pipeline.media.music import MusicEncoder  # noqa: PLC0415

    return MusicEncoder(BASIC_PITCH.locate(), at)


ENCODERS: Mapping[EncoderName, EncoderSpec] = {
    "efficientnet-lite0": EncoderSpec(Medium.IMAGE, 256, (EFFICIENTNET,), ("PIL",), 2, _image),
    "speech-embedding": EncoderSpec(Medium.SOUND, 192, (MELSPECTROGRAM, SPEECH), ("soundfile",), 2, _speech),
    "basic-pitch": EncoderSpec(Medium.SOUND, 264, (BASIC_PITCH,), ("onnxruntime", "soundfile"), 1, _music),
}
