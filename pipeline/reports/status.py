"""The status of a model on one page of the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from pipeline.reports.status_figures import FIGURES, DaemonStatus, Status

MIB = 2**20


def status_page(status: Status) -> RenderableType:
    """The state with its reasons, then daemons, freshness, quality and refusals."""
    lines = [f"[bold {status.state}]{status.state}[/]"]
    lines += [f"  {escape(finding)}" for finding in status.findings]
    lag = ", ".join(f"{name} {_number(records)}" for name, records in status.lag.items())
    lines.append(f"snapshot {status.snapshot or '–'}; unread records: {lag}")
    lines.append(f"staleness of the served weights: {_seconds(status.staleness_seconds)}")
    return Group("\n".join(lines), _daemons(status), _freshness(status), _quality(status), _incoming(status))


def _daemons(status: Status) -> Table:
    table = _table("daemons", "daemon", "state", "version", "MiB", "refused since its start")
    for daemon in status.daemons:
        size = "–" if daemon.memory_bytes is None else f"{daemon.memory_bytes / MIB:,.0f}"
        state = "up" if daemon.away is None else f"away: {daemon.away}"
        table.add_row(daemon.name, escape(state), daemon.version or "–", size, _refusals(daemon))
    return table


def _refusals(daemon: DaemonStatus) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in daemon.refusals.items()) or "–"


def _freshness(status: Status) -> Table:
    table = _table("seconds since append", "until", "p50", "p95")
    for stage, (p50, p95) in status.freshness.items():
        table.add_row(stage, _seconds(p50), _seconds(p95))
    return table


def _quality(status: Status) -> Table:
    table = _table("prequential quality, recent events", "scorer", *FIGURES)
    for scorer, figures in status.quality.items():
        values = (figures[name] for name in FIGURES)
        table.add_row(scorer, *("–" if value is None else f"{value:.4f}" for value in values))
    return table


def _incoming(status: Status) -> Table:
    table = _table(
        "records of the last minutes", "topic", "records", "refused", "by reason", "the last refused"
    )
    for recent in status.incoming:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in recent.refused.items())
        refused = sum(recent.refused.values())
        table.add_row(recent.topic, f"{recent.records:,}", f"{refused:,}", reasons, recent.last or "")
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
