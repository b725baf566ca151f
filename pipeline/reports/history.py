"""The history of the control topic as a table for an operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import RenderableType

from pipeline.control.actions import OperatorAction, Removal
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest
from pipeline.control.history import HistoryEntry
from pipeline.control.records import (
    Adoption,
    ControlRecord,
    Gap,
    GateDecision,
    Pause,
    Promotion,
    Refusal,
    Resume,
    Rollback,
)
from pipeline.reports.layout import table
from pipeline.reports.numbers import utc
from pipeline.wording import counted


def history_table(entries: Iterable[HistoryEntry]) -> RenderableType:
    """One row per entry: append time, version, event, figures and reason."""
    return table(
        "history",
        ("appended (UTC)", "version", "event", "figures", "reason"),
        map(_row, entries),
        whole=("version",),
    )


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    version, event, figures, reason = history_cells(entry.record)
    return utc(entry.append_time), version, f"{event} {entry.result}".strip(), figures, reason


def history_cells(record: ControlRecord) -> tuple[str, str, str, str]:
    """Return version, event, figures and reason of a record, as an operator reads them."""
    match record:
        case DriftAlarm():
            figures = f"{record.before:.4g} → {record.after:.4g} after {counted(record.events, 'event')}"
            return f"{record.generation}-{record.step}", f"alarm: {record.signal}", figures, ""
        case RetrainRequest():
            alarm = record.alarm
            return f"{alarm.generation}-{alarm.step}", "retrain requested", "", f"alarm: {alarm.signal}"
        case BudgetSpent():
            version, event = f"{record.generation}-{record.step}", f"left to a person: {record.action}"
            return version, event, f"{record.in_a_row} in a row did not help", record.reason
        case GateDecision():
            return (
                record.champion,
                f"{record.candidate} {record.outcome}",
                _figures(record),
                "\n".join(record.reasons),
            )
        case Promotion():
            return "", f"promotion of {record.candidate} ordered", "", record.reason
        case Rollback():
            later = "learned again" if record.relearn else "folded"
            return record.version, "rollback ordered", f"later events are {later}", record.reason
        case Pause():
            return "", "pause ordered", "", record.reason
        case Resume():
            return "", "resume ordered", "", record.reason
        case Adoption():
            return record.version, "adopted", f"after {record.left}", record.reason
        case Gap():
            lost = f", {counted(record.lost, 'record')} lost" if record.lost else ""
            return record.version, "gap accepted", f"after {record.left}{lost}", record.reason
        case OperatorAction():
            return "", f"{record.by} asked: {record.action} {record.subject}".strip(), "", record.reason
        case Removal():
            return "", f"user removed {record.subject}".strip(), "", record.reason
        case Refusal():
            return "", f"{record.order} refused", "", record.reason
    raise AssertionError(f"{record.kind} has no row")


def _figures(decision: GateDecision) -> str:
    """Gains with their bounds, then the cost."""
    names = {"log_loss.all": "log-loss", "ndcg.all": "NDCG"}
    gains = [
        f"{name} {decision.figures[f'{figure}.gain']:+.4f} "
        f"[{decision.figures[f'{figure}.low']:+.4f}, {decision.figures[f'{figure}.high']:+.4f}]"
        for figure, name in names.items()
        if f"{figure}.gain" in decision.figures
    ]
    return "\n".join([*gains, *_spent(decision.cost)])


def _spent(cost: Mapping[str, float]) -> list[str]:
    if not cost:
        return []
    events = counted(round(cost["events"]), "event")
    return [f"{cost['seconds']:.0f} s, {events}, {cost['peak_bytes'] / 2**20:.0f} MiB"]
