"""Seals: files and records carry a digest of their own bytes, so damage is found before they are read.

A sealed file is one JSON object, ``{"format":3,"sha256":"…","hmac":"…","content":{…}}``. Its
sha256 covers every byte after it, and the beginning is fixed, so no bit can change unnoticed. The
HMAC-SHA256 of the content, present if there is a key, also proves who wrote it. A record of the
log carries a short digest in its field ``seal``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import Field

SHA256_CHARACTERS = 64
RECORD_SEAL_BYTES = 8
"""Enough against damage; a forger who can write to the log can compute any digest."""
LONGEST_FORMAT = 40
"""Characters of a foreign format that a message repeats."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BrokenSeal(ValueError):
    """The bytes are not what was sealed, or were not sealed with the key."""


def seal(content: bytes, form: int, key: bytes | None = None) -> bytes:
    """Seal the JSON `content` as a file of a format; sign it if there is a key."""
    signature = _signature(content, key) if key else b""
    rest = b'","hmac":"' + signature + b'","content":' + content + b"}"
    return _head(form) + hashlib.sha256(rest).hexdigest().encode() + rest


def unseal(sealed: bytes, form: int, key: bytes | None = None, digest: str | None = None) -> bytes:
    """Return the content of a sealed file.

    Args:
        sealed: the whole file.
        form: the expected format.
        key: if given, the file must be signed with it.
        digest: the expected sha256, where it was announced elsewhere.

    Raises:
        BrokenSeal: says in words what does not hold.
    """
    head = _head(form)
    if not sealed.startswith(head):
        raise BrokenSeal(f"it has format {_format_of(sealed)}, and this millstream reads format {form}")
    found, rest = sealed_digest(sealed, form), sealed[len(head) + SHA256_CHARACTERS :]
    if not hmac.compare_digest(hashlib.sha256(rest).hexdigest().encode(), found.encode()):
        raise BrokenSeal("its bytes differ from its seal")
    if digest is not None and digest != found:
        raise BrokenSeal("it differs from the announced one")
    signature, divided, content = rest.removeprefix(b'","hmac":"').partition(b'","content":')
    if not divided:
        raise BrokenSeal("it has no content")
    content = content[:-1]
    if key and not hmac.compare_digest(
        hmac.new(key, content, hashlib.sha256).hexdigest().encode(), signature
    ):
        raise BrokenSeal("it is not signed with this key (snapshots.key)")
    return content


def is_of_earlier_format(sealed: bytes, form: int) -> bool:
    """Whether bytes are what was sealed as a file of a format before this one, and so are not damaged."""
    found = re.match(rb'\{"format":(\d{1,4}),', sealed)
    earlier = int(found[1]) if found else form
    if earlier >= form:
        return False
    try:
        unseal(sealed, earlier)
    except BrokenSeal:
        return False
    return True


def sealed_digest(sealed: bytes, form: int) -> str:
    """Return the sha256 that a sealed file names."""
    start = len(_head(form))
    return sealed[start : start + SHA256_CHARACTERS].decode("latin-1")


def seal_record(fields: Mapping[str, Any], about: str = "") -> bytes:
    """Encode a record of the log with a digest of its fields and of what it is `about`, such as its key.

    >>> open_record(seal_record({"step": 3}, "ann"), "ann")
    {'step': 3}
    """
    return orjson.dumps({**fields, "seal": _record_digest(fields, about)})


def open_record(wire: bytes, about: str = "") -> dict[str, Any]:
    """Decode a record and check its digest; one without a digest, from before there were any, is accepted.

    Raises:
        BrokenSeal: it is no JSON object, or its digest differs.
    """
    try:
        fields = orjson.loads(wire)
    except orjson.JSONDecodeError:
        raise BrokenSeal("it is not JSON") from None
    if not isinstance(fields, dict):
        raise BrokenSeal("it is no JSON object")
    found = fields.pop("seal", None)
    if found is not None and found != _digest_or_none(fields, about):
        raise BrokenSeal("its fields differ from its seal")
    return fields


def _head(form: int) -> bytes:
    return b'{"format":%d,"sha256":"' % form


def _signature(content: bytes, key: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).hexdigest().encode()


def _format_of(content: bytes) -> str:
    """Return the format that a foreign file names, in few characters, for a message."""
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError:
        return "unknown (it is not JSON)"
    found = fields.get("format") if isinstance(fields, dict) else None
    return str(found)[:LONGEST_FORMAT] if isinstance(found, int | str) else "unknown"


def _digest_or_none(fields: Mapping[str, Any], about: str) -> str | None:
    """Return the digest of fields that were read; None for lists nested deeper than any that is written."""
    try:
        return _record_digest(fields, about)
    except TypeError:  # orjson reads deeper lists than it writes
        return None


def _record_digest(fields: Mapping[str, Any], about: str) -> str:
    digest = hashlib.blake2b(about.encode(errors="replace") + b"\n", digest_size=RECORD_SEAL_BYTES)
    digest.update(orjson.dumps(fields))
    return digest.hexdigest()
