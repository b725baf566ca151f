"""Pictures of items: which of their media the page shows, and from which hosts a browser may load them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from pipeline.config import MediaConfig
from pipeline.errors import MediaRefused
from pipeline.media.addresses import endpoint_of

SOUNDS = ("speech-embedding", "basic-pitch")
ENDINGS = frozenset({".avif", ".gif", ".jpeg", ".jpg", ".png", ".webp"})
"""Of the path of a URL, where no encoder says what the medium is."""


class Pictures:
    """Chooses pictures by the settings of media: hosts that may be asked, and what encodes a medium."""

    def __init__(self, config: MediaConfig) -> None:
        self._config = config

    @property
    def sources(self) -> list[str]:
        """The hosts as a Content-Security-Policy has them; it holds for redirects, too."""
        hosts = [f"*{host}" if host.startswith(".") else host for host in self._config.hosts]
        return [f"{scheme}://{host}" for host in hosts for scheme in ("https", "http")]

    def chosen(self, media: Mapping[str, str]) -> str:
        """Return the URL of an item's first picture at an allowed host; empty if it has none.

        >>> Pictures(MediaConfig(hosts=("img.example.com",))).chosen({"photo": "https://img.example.com/a.png"})
        'https://img.example.com/a.png'
        """
        return next((url for name, url in media.items() if self._is_picture(name, url)), "")

    def _is_picture(self, name: str, url: str) -> bool:
        try:
            endpoint_of(url, self._config.hosts)
        except MediaRefused:
            return False
        if encoder := self._config.encoders.get(name):
            return encoder not in SOUNDS
        return PurePosixPath(urlsplit(url).path).suffix.lower() in ENDINGS
