"""URLs in the settings: they are printed, so a login in one is refused, or its password masked."""

from __future__ import annotations

import re

from pydantic import AfterValidator, PlainSerializer

MASK = "**********"
"""As pydantic writes a secret."""
PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*@")


def masked(url: str) -> str:
    """Return a URL as it may be printed.

    >>> masked("sftp://shop:hunter2@host/snapshots"), masked("run/snapshots")
    ('sftp://shop:**********@host/snapshots', 'run/snapshots')
    """
    return PASSWORD.sub(rf"\1:{MASK}@", url)


Masked = PlainSerializer(masked, when_used="json")
"""For a URL that may hold a password, because its file system has no other place for it."""


def no_login(remedy: str) -> AfterValidator:
    """Make the check that a URL holds no user and no password; `remedy` says where they belong."""

    def checked(url: str) -> str:
        if _has_login(url):
            raise ValueError(f"has a login in it, and URLs are printed: take it out, and {remedy}")
        return url

    return AfterValidator(checked)


def _has_login(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    # A list of brokers has no path, so that a slash is part of a password.
    return "@" in (rest if scheme == "kafka" else re.split("[/?#]", rest, maxsplit=1)[0])
