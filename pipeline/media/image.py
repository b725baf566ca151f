"""Encode pictures: decoded within bounds by Pillow, read by EfficientNet-Lite0, then projected."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.errors import MediaReason, MediaRefused
from pipeline.media.efficientnet import FEATURES, EfficientNetLite0
from pipeline.media.encoder import Vector, unit
from pipeline.media.formats import Medium, check_medium

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
SIZE = 224
"""Pixels of each side that the network was trained with."""
WIDTH = 256
ORIENTATION = 0x0112
"""Number of the EXIF entry that says how a camera was held."""
UPRIGHT = 1
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its orientation."""
CLASSIFIER = "_fc."
SEED = 20_240
"""Of the projection: another one is another space."""


class ImageEncoder:
    """Encodes a picture's middle square."""

    def __init__(self, weights: Path, max_pixels: int, centre: Vector) -> None:
        """Load the network; `weights` is a file of tensors alone, and nothing else in it is read."""
        state = torch.load(weights, map_location="cpu", weights_only=True)
        self._network = EfficientNetLite0().eval().requires_grad_(False)
        self._network.load_state_dict({n: v for n, v in state.items() if not n.startswith(CLASSIFIER)})
        self._projection = projection(FEATURES, WIDTH)
        self._max_pixels, self._centre = max_pixels, centre

    def encode(self, content: bytes) -> Vector:
        """See `ContentEncoder.encode`."""
        pixels = decoded(content, self._max_pixels)
        return unit(unit(self._features(torch.from_numpy(pixels)) @ self._projection) - self._centre)

    @torch.inference_mode()
    def _features(self, pixels: Tensor) -> NDArray[np.float64]:
        """Return features ``[1280]`` of pixels ``[224, 224, 3]`` from 0 to 255."""
        picture = ((pixels.float() - 127) / 128).permute(2, 0, 1)
        found: NDArray[np.float64] = self._network(picture[None])[0].double().numpy()
        return found


def decoded(content: bytes, max_pixels: int, side: int = SIZE) -> NDArray[np.uint8]:
    """Decode the middle square of a picture, ``[side, side, 3]``; of several frames the first.

    Raises:
        MediaRefused: it is damaged, of another format, or has too many pixels.
    """
    check_medium(content, Medium.IMAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is refused, or harmless
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                _check_size(opened, max_pixels)
                return _square(opened, side)
        except MediaRefused:
            raise
        except (Image.DecompressionBombError, MemoryError) as error:
            raise MediaRefused(MediaReason.TOO_LARGE, str(error) or "out of memory") from None
        except Exception as error:  # Pillow's decoders have errors of many kinds
            raise MediaRefused(MediaReason.DAMAGED, f"{type(error).__name__}: {error}"[:200]) from None


def _check_size(picture: Image.Image, max_pixels: int) -> None:
    """Refuse too many pixels by the header alone, before any is decoded."""
    width, height = picture.size
    if width * height > max_pixels:
        text = f"{width} x {height} pixels, more than media.max_pixels ({max_pixels:,})"
        raise MediaRefused(MediaReason.TOO_LARGE, text)


def _square(picture: Image.Image, to: int) -> NDArray[np.uint8]:
    picture.draft("RGB", (2 * to, 2 * to))  # a JPEG is decoded at a fraction of its size
    turn, whole = _turn(picture), _in_8_bits(picture)
    side = min(whole.size)
    left, top = (whole.width - side) / 2, (whole.height - side) / 2
    square = whole.resize((to, to), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    if square.mode == "RGBA":  # what is transparent shows white, as on a shop's page
        square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square).convert("RGB")
    return np.array(square if turn is None else square.transpose(turn), dtype=np.uint8)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Return what turns a picture upright, as browsers show it; None if nothing has to."""
    try:
        return TURNS.get(picture.getexif().get(ORIENTATION, UPRIGHT))
    except SyntaxError:  # Pillow's, of EXIF that is none: such a picture is shown as it is
        return None


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """Convert a picture to three or four channels of 8 bits."""
    if picture.mode.startswith("I"):  # grey of 16 bits, which Pillow would cut off at 255: all white
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def projection(of: int, to: int) -> NDArray[np.float64]:
    """Draw a random projection ``[of, to]``, which keeps angles nearly (Johnson & Lindenstrauss 1984)."""
    rng = np.random.Generator(np.random.Philox(SEED))
    return np.asarray(rng.standard_normal((of, to)) / np.sqrt(to))
