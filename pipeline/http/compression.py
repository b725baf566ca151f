"""Bodies of requests are read as they are: what is packed is refused with the remedy, not as broken JSON."""

from __future__ import annotations

from collections.abc import Mapping

COMPRESSED = "send the body uncompressed, without the header Content-Encoding"


def is_compressed(headers: Mapping[str, str]) -> bool:
    """Whether a request says that its body is compressed.

    >>> is_compressed({"content-encoding": "gzip"}), is_compressed({"content-encoding": "Identity"})
    (True, False)
    """
    return headers.get("content-encoding", "").strip().lower() not in ("", "identity")
