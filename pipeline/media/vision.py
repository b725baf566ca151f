"""Encode pictures by a vision model of transformers in a folder: the mean of what its last layer says.

Poolers are left out, because many weights lack theirs. Vectors are centred at the mean over the made-up
pictures, which is computed when the model is loaded; see `pipeline.media.reference` for why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel

from pipeline.errors import InvalidSettings
from pipeline.media.encoder import Vector, unit
from pipeline.media.image import WIDTH, decoded, projection
from pipeline.media.made_up import pictures
from pipeline.media.weights import PREPROCESSOR, VisionFolder

HALF = [0.5, 0.5, 0.5]
"""Mean and deviation of the channels, where a folder does not say them."""


class VisionEncoder:
    """Encodes a picture's middle square."""

    def __init__(self, model: VisionFolder, max_pixels: int) -> None:
        """Load the network; nothing but tensors is read of its weights.

        Raises:
            InvalidSettings: the weights are not those of the model that the folder describes.
        """
        folder = model.locate()
        loaded, info = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
        if missing:
            raise InvalidSettings(f"{folder} lacks weights of its model, such as {missing[0]}: copy it again")
        self._network: Any = getattr(loaded, "vision_model", loaded).eval().requires_grad_(False)
        self._side, self._max_pixels = model.side, max_pixels
        self._mean, self._deviation = _channels(folder)
        self._projection: NDArray[np.float64] | None = None
        self._centre = np.zeros(WIDTH)
        self._centre = np.mean([self.encode(picture) for picture in pictures()], axis=0)

    def encode(self, content: bytes) -> Vector:
        """See `ContentEncoder.encode`."""
        found = self._features(torch.from_numpy(decoded(content, self._max_pixels, self._side)))
        if self._projection is None:
            self._projection = projection(found.size, WIDTH)
        return unit(unit(found @ self._projection) - self._centre)

    @torch.inference_mode()
    def _features(self, pixels: Tensor) -> NDArray[np.float64]:
        """Return features ``[k]`` of pixels ``[side, side, 3]`` from 0 to 255."""
        picture = ((pixels.float() / 255 - self._mean) / self._deviation).permute(2, 0, 1)
        hidden: Tensor = self._network(pixel_values=picture[None]).last_hidden_state[0]
        # Tokens [t, k] of a transformer, or a map [k, h, w] of a convolutional network.
        mean = hidden.mean(dim=0) if hidden.dim() == 2 else hidden.flatten(1).mean(dim=1)
        found: NDArray[np.float64] = mean.double().numpy()
        return found


def _channels(folder: Path) -> tuple[Tensor, Tensor]:
    """Return mean and deviation ``[3]`` of the channels that the model was trained with."""
    file = folder / PREPROCESSOR
    said = json.loads(file.read_text()) if file.is_file() else {}
    mean, deviation = (torch.tensor(said.get(name, HALF)) for name in ("image_mean", "image_std"))
    return mean, deviation
