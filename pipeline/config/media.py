"""Settings of the media daemon: which media of items become vectors, and what may be fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.config.base import Config, NamedPath, Seconds
from pipeline.events import Id

ENCODERS = ("efficientnet-lite0", "speech-embedding", "basic-pitch")


def _encoder(text: str) -> str:
    """Check the name of an encoder; whether a folder holds a model, the daemon and the doctor say."""
    if text not in ENCODERS and "/" not in text:
        raise ValueError(
            f"must be {', '.join(ENCODERS)}, or a vision model: its folder or name on the hub, with a slash"
        )
    return text


EncoderName = Annotated[str, AfterValidator(_encoder)]


HOST = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:[0-9]{1,5})?")


def _host(text: str) -> str:
    """Check a host; what is written instead is not said, because a URL may have a password."""
    if not HOST.fullmatch(text):
        raise ValueError(
            "must be a host without scheme and path, such as example.com or example.com:8080; "
            ".example.com is all hosts below"
        )
    return text.lower()


Host = Annotated[str, Field(max_length=300), AfterValidator(_host)]


class MediaConfig(Config):
    """[media] Which media of items `millstream media` turns into vectors, and from where it fetches them."""

    encoders: Annotated[dict[Id, EncoderName], Field(max_length=8)] = Field(default_factory=dict)
    """By the name that items have for a medium, what encodes it: `efficientnet-lite0` (pictures),
    `speech-embedding` (sounds), `basic-pitch` (music), or a vision model of transformers (pictures) by its
    folder, such as `./vit`, or its name on the hub, such as `facebook/dinov2-small`. The vector gets the same
    name; each item keeps its own, if it brings one."""
    hosts: Annotated[tuple[Host, ...], Field(max_length=1_000)] = ()
    """Hosts that may be asked, at ports 80 and 443, or at the one given as in `example.com:8080`;
    `.example.com` is all hosts below. Without any, nothing is fetched. Redirects obey it, too."""
    private_addresses: bool = False
    """Whether a host may have a private, local or otherwise special address; by default none may, so that
    nobody can reach inside the network through an item's URL."""
    max_bytes: Annotated[int, Field(ge=1_024, le=1 << 30)] = 16 << 20
    """Bytes of a file, at most; the rest is not read."""
    max_pixels: Annotated[int, Field(ge=1, le=10**9)] = 40_000_000
    """Width times height of a picture, at most."""
    fetch_seconds: Seconds = 15
    """Time to fetch a file, redirects included."""
    encode_seconds: Seconds = 30
    """Time to decode and encode a file; then the process that does it is ended, and another one begins."""
    fetches: Annotated[int, Field(ge=1, le=64)] = 4
    """Files that are fetched at the same time."""
    attempts: Annotated[int, Field(ge=1, le=32)] = 8
    """Times that a file is asked for, while its host is away, slow, or answers with an error."""
    retry_seconds: Seconds = 30
    """Pause after the first attempt; each is twice as long as the one before."""
    folder: NamedPath = Path(".cache/media")
    """Where the daemon keeps how far it has read, vectors by content, and what it refused."""
