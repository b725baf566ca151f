"""Decompress record batches of every codec of Kafka, within a bound.

The client's own functions decompress without a bound, so a batch of one megabyte could exhaust the
memory of every reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import snappy
import zstandard
from kafka.errors import CorruptRecordError, UnsupportedCodecError
from lz4.frame import LZ4FrameDecompressor

MAX_BATCH_BYTES = 64 << 20
"""Limit of one decompressed batch; a broker accepts about 1 MB compressed, by default."""

DECODING_ERRORS = (
    *(CorruptRecordError, UnsupportedCodecError, zlib.error, zstandard.ZstdError, snappy.UncompressError),
    *(RuntimeError, ValueError, IndexError, struct.error, MemoryError, AssertionError),
)
"""Every error that a damaged batch can cause: the codecs have no common base class, lz4 raises
RuntimeError, and the client asserts."""

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_WBITS_GZIP = 31


def decompress(codec: int, data: bytes) -> bytes:
    """Decompress the records of a batch; `codec` is the number in the batch's attributes.

    Raises:
        One of DECODING_ERRORS: the codec is unknown, or the data damaged or too large.
    """
    if codec not in _CODECS:
        raise UnsupportedCodecError(f"compression codec {codec} is unknown")
    return _CODECS[codec](data)


def _gzip(data: bytes) -> bytes:
    decompressor = zlib.decompressobj(_WBITS_GZIP)
    return _complete(decompressor.decompress(data, MAX_BATCH_BYTES + 1), decompressor.eof)


def _lz4(data: bytes) -> bytes:
    decompressor = LZ4FrameDecompressor()
    return _complete(decompressor.decompress(data, max_length=MAX_BATCH_BYTES + 1), decompressor.eof)


def _zstd(data: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        return _complete(reader.read(MAX_BATCH_BYTES + 1), True)


def _snappy(data: bytes) -> bytes:
    """Decompress one block, or the sequence of blocks with lengths that the Java client writes."""
    if not data.startswith(_XERIAL_MAGIC):
        return _snappy_block(data, 0)
    blocks, size, position = [], 0, _XERIAL_HEADER_BYTES
    while position < len(data):
        (length,) = struct.unpack_from(">i", data, position)
        if length < 0:
            raise CorruptRecordError("a snappy block of negative length")
        position += 4 + length
        blocks.append(_snappy_block(data[position - length : position], size))
        size += len(blocks[-1])
    return b"".join(blocks)


def _snappy_block(block: bytes, before: int) -> bytes:
    size = shift = 0
    for byte in block[:5]:  # the block begins with its decompressed size, 7 bits a byte
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if before + size > MAX_BATCH_BYTES:
        raise CorruptRecordError(_TOO_LARGE)
    decompressed: bytes = snappy.uncompress(block)
    return decompressed


def _complete(decompressed: bytes, ended: bool) -> bytes:
    if len(decompressed) > MAX_BATCH_BYTES:
        raise CorruptRecordError(_TOO_LARGE)
    if not ended:
        raise CorruptRecordError("the compressed data end too early")
    return decompressed


_TOO_LARGE = f"a batch of more than {MAX_BATCH_BYTES >> 20} MiB decompressed"
_CODECS: Mapping[int, Callable[[bytes], bytes]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
