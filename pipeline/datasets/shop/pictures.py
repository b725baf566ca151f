"""Pictures of the shop's items: colour and shape tell the style, all else is the item's own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.shop.catalogue import Floats
from pipeline.datasets.shop.randomness import of_item

SIDE = 96
"""Pixels."""
COLOURS = ((200, 50, 40), (40, 90, 190), (60, 150, 70), (225, 175, 40))
"""Red, blue, green, yellow."""
TINT, GRAIN = 25.0, 12.0
"""Standard deviations of an item's own colour and of its pixels, of 255."""
SMALLEST, LARGEST = 0.3, 0.6
"""Of a shape, as half its width beside half the picture's."""

Mask = NDArray[np.bool_]


def _disc(x: Floats, y: Floats) -> Mask:
    return np.asarray(x**2 + y**2 < 1)


def _square(x: Floats, y: Floats) -> Mask:
    return np.asarray(np.maximum(abs(x), abs(y)) < 1)


def _cross(x: Floats, y: Floats) -> Mask:
    return np.asarray((np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1))


SHAPES: tuple[Callable[[Floats, Floats], Mask], ...] = (_disc, _square, _cross)


def picture(item: str, style: int, seed: int = 0) -> bytes:
    """Draw an item's picture, as PNG; the same each time.

    Styles that differ by the number of colours have the same colour, and other shapes.
    """
    rng = of_item(seed, item)
    colour = np.array(COLOURS[style % len(COLOURS)]) + rng.normal(0, TINT, 3)
    mask = _placed(SHAPES[style // len(COLOURS) % len(SHAPES)], rng)
    backdrop = np.full(3, rng.uniform(190, 255))
    pixels = np.where(mask[:, :, None], colour, backdrop) + rng.normal(0, GRAIN, (SIDE, SIDE, 3))
    return _png(pixels.clip(0, 255).astype(np.uint8))


def _placed(shape: Callable[[Floats, Floats], Mask], rng: np.random.Generator) -> Mask:
    """Put a shape somewhere, in some size."""
    size = rng.uniform(SMALLEST, LARGEST)
    left, top = rng.uniform(size - 1, 1 - size, 2)
    across = np.linspace(-1, 1, SIDE)
    return shape((across[None, :] - left) / size, (across[:, None] - top) / size)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels ``[h, w, 3]``; so small an encoder needs no library."""
    height, width, _ = pixels.shape
    rows = np.pad(pixels.reshape(height, 3 * width), ((0, 0), (1, 0)))  # each begins with its filter, none
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
