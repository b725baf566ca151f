"""How numbers, sizes and times are written, in tables and on pages."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "–"
MIB = 2**20


def number(value: float | None) -> str:
    """Write a number without decimals.

    >>> number(1234.4), number(None)
    ('1,234', '–')
    """
    return UNKNOWN if value is None else f"{value:,.0f}"


def figure(value: float | None) -> str:
    """Write a figure with four decimals.

    >>> figure(0.25), figure(None)
    ('0.2500', '–')
    """
    return UNKNOWN if value is None else f"{value:.4f}"


def seconds(value: float | None) -> str:
    """Write seconds.

    >>> seconds(0.512), seconds(75.0), seconds(8000.0), seconds(None)
    ('0.51 s', '75 s', '2.2 h', '–')
    """
    if value is None:
        return UNKNOWN
    if value >= 3_600:
        return f"{value / 3_600:.1f} h"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def mib(value: float | None) -> str:
    """Write bytes as MiB, or GiB if they are many.

    >>> mib(2**20), mib(2**31), mib(None)
    ('1 MiB', '2.0 GiB', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value / MIB:,.0f} MiB" if value < 1024 * MIB else f"{value / MIB / 1024:.1f} GiB"


def utc(time_ms: float) -> str:
    """Write a time in UTC, to the second.

    >>> utc(1_700_000_000_000)
    '2023-11-14 22:13:20'
    """
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
