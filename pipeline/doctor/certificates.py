"""Certificates that the settings name: until when they are valid."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.wording import counted

SOON = timedelta(days=30)
"""Before its end a certificate is warned of; most are renewed a month ahead."""
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
VERSION, UTC_TIME = 0xA0, 0x17
"""Tags of DER: of a certificate's version, if it has one, and of a time with a year of two digits."""
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
            found = validities(Path(named.file).read_text(errors="replace"))
        except (OSError, ValueError):
            continue
        if found:
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


def validities(text: str) -> list[Validity]:
    """Return when each certificate of a file in PEM is valid, in their order.

    Raises:
        ValueError: what is marked as a certificate is none.
    """
    blocks = [f"{BEGIN}{part.partition(END)[0]}{END}" for part in text.split(BEGIN)[1:]]
    return [_validity(ssl.PEM_cert_to_DER_cert(block)) for block in blocks]


def _validity(der: bytes) -> Validity:
    """Read when a certificate is valid (RFC 5280, section 4.1); the standard library says it of CAs alone."""
    (_, certificate), *_ = _parts(der)
    (_, signed), *_ = _parts(certificate)
    fields = _parts(signed)
    _serial, _algorithm, _issuer, (_, validity), *_ = fields[fields[0][0] == VERSION :]
    begin, end = (_time(tag, content.decode("ascii")) for tag, content in _parts(validity))
    return Validity(begin, end)


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """Return tag and content of each part of a sequence.

    Raises:
        ValueError: it is cut off.
    """
    parts, at = list[tuple[int, bytes]](), 0
    while at < len(der):
        head = der[at : at + 2]
        if len(head) < 2:
            raise ValueError("a certificate is cut off")
        long = head[1] - 0x80 if head[1] > 0x80 else 0
        begin = at + 2 + long
        size = int.from_bytes(der[at + 2 : begin]) if long else head[1]
        at = begin + size
        if at > len(der):
            raise ValueError("a certificate is cut off")
        parts.append((head[0], der[begin:at]))
    return parts


def _time(tag: int, text: str) -> datetime:
    """Parse a time; a year of two digits is of 1950 to 2049."""
    if tag == UTC_TIME:
        text = f"{'19' if text[:2] >= '50' else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
