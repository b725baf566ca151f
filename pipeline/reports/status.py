"""The status of a model on one page of the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape

from pipeline.reports.layout import table
from pipeline.reports.numbers import MIB, UNKNOWN, figure, number
from pipeline.reports.status_figures import FIGURES, DaemonStatus, DeadLetters, RecentRecords, Status
from pipeline.wording import counted


def status_page(status: Status) -> RenderableType:
    """The state with its reasons, then daemons, freshness, quality and refusals."""
    lines = [f"[bold {status.state}]{status.state}[/]"]
    lines += [f"  {escape(finding)}" for finding in status.findings]
    lag = ", ".join(f"{name} {number(records)}" for name, records in status.lag.items())
    lines.append(f"snapshot {status.snapshot or UNKNOWN}; unread records: {lag}")
    lines.append(f"staleness of the served weights: {_seconds(status.staleness_seconds)}")
    tables = (_daemons(status), _freshness(status), _quality(status), _incoming(status))
    return Group("\n".join(lines), *tables, _letters(status.dead_letters))


def _daemons(status: Status) -> RenderableType:
    headings = ("daemon", "state", "version", "MiB", "refused since its start")
    return table("daemons", headings, map(_daemon, status.daemons), whole=("daemon", "version"))


def _daemon(daemon: DaemonStatus) -> tuple[str, ...]:
    size = UNKNOWN if daemon.memory_bytes is None else f"{daemon.memory_bytes / MIB:,.0f}"
    state = "up" if daemon.away is None else f"{'away' if daemon.url else 'unknown'}: {daemon.away}"
    return daemon.name, state, daemon.version or UNKNOWN, size, _refusals(daemon)


def _refusals(daemon: DaemonStatus) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in daemon.refusals.items()) or UNKNOWN


def _freshness(status: Status) -> RenderableType:
    rows = [(stage, _seconds(p50), _seconds(p95)) for stage, (p50, p95) in status.freshness.items()]
    return table("seconds since append", ("until", "p50", "p95"), rows)


def _quality(status: Status) -> RenderableType:
    rows = []
    for scorer, figures in status.quality.items():
        rows.append((scorer, *(figure(figures[name]) for name in FIGURES)))
    return table("prequential quality, recent events", ("scorer", *FIGURES), rows)


def _incoming(status: Status) -> RenderableType:
    headings = ("topic", "records", "refused", "by reason", "the last refused")
    rows = map(_recent, status.incoming)
    return table("records of the last minutes", headings, rows, whole=("the last refused",))


def _recent(recent: RecentRecords) -> tuple[str, ...]:
    reasons = "\n".join(f"{reason} {count:,}" for reason, count in recent.refused.items())
    refused = sum(recent.refused.values())
    return recent.topic, f"{recent.records:,}", f"{refused:,}", reasons, recent.last or ""


def _letters(letters: DeadLetters) -> RenderableType:
    rows = [
        (reason, f"{count:,}", f"{letters.recent.get(reason, 0):,}")
        for reason, count in letters.by_reason.items()
    ]
    found = counted(sum(letters.by_reason.values()), "dead letter")
    title = f"{found}, the last of {letters.last or UNKNOWN}"
    return table(title, ("reason", "letters", "of the last minutes"), rows, whole=("reason",))


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
