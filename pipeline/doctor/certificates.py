"""Certificates that the settings name: until when they are valid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import load_pem_x509_certificates

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.wording import counted

SOON = timedelta(days=30)
"""Before its end a certificate is warned of; most are renewed a month ahead."""
RENEW = "renew it, set `{setting}` to the new one, and restart the daemons that use it"


class Validity(NamedTuple):
    """From when to when a certificate is valid."""

    begin: datetime
    end: datetime


class _Named(NamedTuple):
    """A file with certificates; `chosen` takes the one whose end counts."""

    setting: str
    file: str
    chosen: Callable[[Sequence[Validity]], Validity]


def check(settings: Settings, now: datetime | None = None) -> Iterator[Finding]:
    """Say until when each certificate is valid; whether a file can be used at all, other checks say."""
    now = now or datetime.now(UTC)
    for named in _named(settings):
        try:
            found = validities(Path(named.file).read_bytes())
        except (OSError, ValueError):
            continue
        yield _finding(named, named.chosen(found), now)


def _finding(named: _Named, valid: Validity, now: datetime) -> Finding:
    what, remedy = f"{named.setting}: {named.file}", RENEW.format(setting=named.setting)
    if now > valid.end:
        return fault("certificate", f"{what} has expired: it was valid until {valid.end:%Y-%m-%d}", remedy)
    if now < valid.begin:
        text = f"{what} is not valid before {valid.begin:%Y-%m-%d %H:%M} UTC"
        return fault("certificate", text, "set the clock of this machine, or wait")
    if valid.end - now < SOON:
        left = counted((valid.end - now).days, "day")
        return warning("certificate", f"{what} expires in {left}, on {valid.end:%Y-%m-%d}", remedy)
    return ok("certificate", f"{what} is valid until {valid.end:%Y-%m-%d}")


def _named(settings: Settings) -> Iterator[_Named]:
    """Yield the files that the settings name.

    Of a certificate with those that lead to its CA, the first counts. Of CAs it is the last to end: a file
    holds the old one beside the new one while they change.
    """
    for table in ("serve", "gateway", "console"):
        if own := getattr(settings, table).http.certificate:
            yield _Named(f"{table}.http.certificate", str(own), _first)
    for table, url in (("log", settings.log.url), ("bridge", settings.bridge.url)):
        options = getattr(settings, table).options if url.startswith("kafka://") else {}
        for option, chosen in (("ssl_certfile", _first), ("ssl_cafile", _last_to_end)):
            if option in options:
                yield _Named(f"{table}.options.{option}", options[option].get_secret_value(), chosen)
    authorities = {
        "metrics.authority": settings.metrics.authority,
        "console.oidc.authority": settings.console.oidc.authority,
    }
    for setting, file in authorities.items():
        if file:
            yield _Named(setting, str(file), _last_to_end)


def _first(found: Sequence[Validity]) -> Validity:
    return found[0]


def _last_to_end(found: Sequence[Validity]) -> Validity:
    return max(found, key=lambda one: one.end)


def validities(pem: bytes) -> list[Validity]:
    """Return when each certificate of a file in PEM is valid, in their order.

    Raises:
        ValueError: what is marked as a certificate is none, or nothing is.
    """
    try:
        with warnings.catch_warnings():  # of serial numbers, which old CAs have as they like
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found = load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ValueError(f"a certificate is cut off, or none: {error}") from None
    return [Validity(one.not_valid_before_utc, one.not_valid_after_utc) for one in found]
