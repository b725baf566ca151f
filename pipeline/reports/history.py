"""The history of the control topic as a table for an operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from rich.table import Table

from pipeline.control.alarms import DriftAlarm, RetrainRequest
from pipeline.control.history import HistoryEntry
from pipeline.control.records import Adoption, ControlRecord, GateDecision, Promotion, Refusal, Rollback


def history_table(entries: Iterable[HistoryEntry]) -> Table:
    """A row an entry: when, which version, what, its figures, and why."""
    table = Table(title="history", title_justify="left")
    for heading in ("appended (UTC)", "version", "what", "figures", "why"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        when = datetime.fromtimestamp(entry.append_time / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        version, what, figures, why = _row(entry.told)
        table.add_row(when, version, f"{what} {entry.booked}".strip(), figures, why)
    return table


def _row(told: ControlRecord) -> tuple[str, str, str, str]:
    """Version, what, figures and why."""
    match told:
        case DriftAlarm():
            figures = f"{told.before:.4g} → {told.after:.4g} after {told.events:,} events"
            return f"{told.generation}-{told.step}", f"alarm: {told.signal}", figures, ""
        case RetrainRequest():
            alarm = told.alarm
            return f"{alarm.generation}-{alarm.step}", "retrain requested", "", f"alarm: {alarm.signal}"
        case GateDecision():
            return told.champion, f"{told.candidate} {told.outcome}", _figures(told), "\n".join(told.reasons)
        case Promotion():
            return "", f"promotion of {told.candidate} ordered", "", told.reason
        case Rollback():
            learned = "learned again" if told.relearn else "folded"
            return told.version, "rollback ordered", f"what came since is {learned}", told.reason
        case Adoption():
            return told.version, "adopted", f"after {told.left}", told.reason
        case Refusal():
            return "", f"{told.order} refused", "", told.reason
    raise AssertionError(f"{told.kind} has no row")


def _figures(judged: GateDecision) -> str:
    """Gains with their bounds, then what it cost."""
    names = {"log_loss.all": "log-loss", "ndcg.all": "NDCG"}
    gains = [
        f"{name} {judged.figures[f'{figure}.gain']:+.4f} "
        f"[{judged.figures[f'{figure}.low']:+.4f}, {judged.figures[f'{figure}.high']:+.4f}]"
        for figure, name in names.items()
        if f"{figure}.gain" in judged.figures
    ]
    return "\n".join([*gains, *_spent(judged.cost)])


def _spent(cost: Mapping[str, float]) -> list[str]:
    if not cost:
        return []
    return [f"{cost['seconds']:.0f} s, {cost['events']:,.0f} events, {cost['peak_bytes'] / 2**20:.0f} MiB"]
