"""Pictures and sounds for tests: good ones, and poisoned ones."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(colour: str = "red", side: int = 32, kind: str = "PNG") -> bytes:
    """A picture of one colour with a white corner."""
    made = Image.new("RGB", (side, side), colour)
    made.paste("white", (0, 0, side // 2, side // 2))
    file = io.BytesIO()
    made.save(file, kind)
    return file.getvalue()


def sound(hertz: float = 440, rate: int = 16_000, seconds: float = 1.0, kind: str = "WAV") -> bytes:
    """A tone."""
    times = np.arange(int(seconds * rate)) / rate
    return waves(0.5 * np.sin(2 * np.pi * hertz * times), rate, kind)


def waves(samples: NDArray[np.floating], rate: int = 16_000, kind: str = "WAV", subtype: str = "") -> bytes:
    """Samples ``[n]`` or ``[n, channels]`` as a file."""
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), rate, format=kind, subtype=subtype or None)
    return file.getvalue()


def _chunk(name: bytes, content: bytes) -> bytes:
    checked = name + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png_of(width: int, height: int, rows: int, *extra: bytes) -> bytes:
    """A PNG that says it has width times height grey pixels, and holds so many rows of black ones."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 + width)) for _ in range(rows)) + packer.flush()
    return SIGNATURE + header + b"".join(extra) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small picture with a compressed text of 64 MB."""
    return png_of(8, 8, 8, _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 << 20), 9)))


def nan_sound() -> bytes:
    """A sound with a sample that is no number."""
    samples = np.zeros(16_000)
    samples[100] = np.nan
    return waves(samples, subtype="FLOAT")


def sound_at(rate: int) -> bytes:
    """A second of silence whose header has another rate."""
    made = bytearray(waves(np.zeros(16_000), subtype="PCM_16"))
    made[24:28] = struct.pack("<I", rate)
    return bytes(made)
