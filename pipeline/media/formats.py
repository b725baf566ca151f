"""The format of a file by its first bytes; a name or a header may say anything."""

from __future__ import annotations

from enum import StrEnum

from pipeline.errors import MediaReason, MediaRefused

MP3_FRAMES = tuple(b"\xff" + bytes([second]) for second in (0xFA, 0xFB, 0xF2, 0xF3, 0xE2, 0xE3))
"""How a frame of layer III begins in MPEG 1, 2 and 2.5, with a checksum and without."""


class Medium(StrEnum):
    """What a file is for the senses."""

    IMAGE = "image"
    SOUND = "sound"


def check_medium(content: bytes, expected: Medium) -> None:
    """Check that a file begins as one of a medium that is read.

    Raises:
        MediaRefused: it is empty, or begins otherwise.
    """
    if not content:
        raise MediaRefused(MediaReason.EMPTY, "no bytes")
    found = medium_of(content)
    if found is not expected:
        text = f"is a {found}, not a {expected}" if found else f"begins as no {expected} that is read"
        raise MediaRefused(MediaReason.WRONG_TYPE, text)


def medium_of(content: bytes) -> Medium | None:
    """Return what a file is: PNG, JPEG, GIF, WebP; WAV, FLAC, Ogg, MP3; None for anything else.

    >>> medium_of(b"GIF89a...").value
    'image'
    """
    if content[:4] == b"RIFF":
        return {b"WEBP": Medium.IMAGE, b"WAVE": Medium.SOUND}.get(content[8:12])
    if content.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")):
        return Medium.IMAGE
    return Medium.SOUND if content.startswith((b"fLaC", b"OggS", b"ID3", *MP3_FRAMES)) else None
