"""Write the dashboards of Grafana: one of the model for those who answer for quality, one of the service.

    python -m deploy.grafana.dashboards

Import the files, or let Grafana read the folder (provisioning); the data source is a variable of the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
"""Of a panel, in units of Grafana's grid, which is 24 wide; and panels in a row."""
SOURCE = {"type": "prometheus", "uid": "${source}"}


class Panel(NamedTuple):
    """Lines over time.

    Attributes:
        title: what they are.
        unit: by Grafana's names.
        lines: expressions, each with the legend of its lines.
    """

    title: str
    unit: str
    lines: Sequence[tuple[str, str]]


def _quantiles(series: str, by: str = "") -> list[tuple[str, str]]:
    grouped = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    rate = f"sum by ({grouped}) (rate({series}_bucket[$__rate_interval]))"
    return [(f"histogram_quantile({share}, {rate})", f"{legend}p{share * 100:g}") for share in (0.5, 0.95)]


def _rate(series: str, by: str) -> list[tuple[str, str]]:
    return [(f"sum by ({by}) (rate({series}[$__rate_interval]))", f"{{{{{by}}}}}")]


def _quality(figure: str, part: str = "all") -> list[tuple[str, str]]:
    chosen = f'figure="{figure}",slice="{part}"'
    return [(f"millstream_prequential_quality{{{chosen}}}", "{{scorer}}")]


def _of_answers(*figures: str) -> list[tuple[str, str]]:
    """Return the first figure less the others, of an answer of each arm, over an hour."""
    added = [f"sum by (arm) (increase(millstream_{figure}_total[1h]))" for figure in (*figures, "outcomes")]
    return [(f"({' - '.join(added[:-1])}) / {added[-1]}", "{{arm}}")]


MODEL = (
    Panel("HR@20", "percentunit", _quality("hr@20")),
    Panel("MRR@20", "percentunit", _quality("mrr@20")),
    Panel("Log-loss", "none", _quality("log_loss")),
    Panel("HR@20 of cold items", "percentunit", _quality("hr@20", "cold")),
    Panel("HR@20 of first items of a basket", "percentunit", _quality("hr@20", "first_of_basket")),
    Panel("Regret of the mixture", "none", [("millstream_mixture_regret", "{{slice}} {{figure}}")]),
    Panel("Lists", "none", [("millstream_list_quality", "{{figure}}")]),
    Panel("Predicted ratings", "none", [("millstream_rating_quality", "{{slice}} {{figure}}")]),
    Panel("Loss of the last batch", "none", [("millstream_loss", "loss")]),
    Panel(
        "Drift alarms",
        "short",
        [("sum by (signal) (increase(millstream_drift_alarms_total[1h]))", "{{signal}}")],
    ),
    Panel("Adoptions", "short", [("sum by (kind) (increase(millstream_adoptions_total[1h]))", "{{kind}}")]),
    Panel(
        "Candidates",
        "short",
        [("sum by (outcome) (increase(millstream_candidates_total[1h]))", "{{outcome}}")],
    ),
    Panel("Reward of an answer", "none", _of_answers("outcome_rewards", "outcome_penalties")),
    Panel("Click-through rate", "percentunit", _of_answers("rewarded_outcomes")),
    Panel("MRR of what was shown", "percentunit", _of_answers("outcome_reciprocal_places")),
)
SERVICE = (
    Panel("Events", "cps", _rate("millstream_events_total", "daemon")),
    Panel("Lag", "short", [("millstream_lag_records", "{{daemon}}")]),
    Panel("Staleness", "s", [("millstream_staleness_seconds", "{{instance}}")]),
    Panel("Appended to learned", "s", _quantiles("millstream_appended_to_learned_seconds")),
    Panel("Appended to published", "s", _quantiles("millstream_appended_to_published_seconds")),
    Panel("Appended to served", "s", _quantiles("millstream_appended_to_served_seconds")),
    Panel("Requests", "reqps", _rate("millstream_request_seconds_count", "status")),
    Panel("Time to answer", "s", _quantiles("millstream_request_seconds", "route")),
    Panel("Answers by certainty", "cps", _rate("millstream_answers_total", "certainty")),
    Panel("Dead letters", "cps", _rate("millstream_dead_letters_total", "reason")),
    Panel("A batch", "s", _quantiles("millstream_batch_seconds")),
    Panel("A swap", "s", _quantiles("millstream_swap_seconds")),
    Panel("Memory", "bytes", [("process_resident_memory_bytes", "{{job}} {{instance}}")]),
    Panel("Free for the learner", "bytes", [("millstream_free_bytes", "{{folder}}")]),
    Panel(
        "Version", "none", [("millstream_step", "{{daemon}} step"), ("millstream_generation", "{{daemon}}")]
    ),
)
DASHBOARDS = {"model": ("Millstream: the model", MODEL), "service": ("Millstream: the service", SERVICE)}


def dashboard(name: str) -> str:
    """Return a dashboard's file."""
    title, panels = DASHBOARDS[name]
    page = {
        "uid": f"millstream-{name}",
        "title": title,
        "schemaVersion": 41,
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {"list": list(_annotations())},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(page, indent=2) + "\n"


def _annotations() -> Iterator[dict[str, Any]]:
    """Yield what is drawn into every panel."""
    events = {
        "Drift alarms": ("millstream_drift_alarms_total", "orange", "{{signal}}"),
        "Adoptions": ("millstream_adoptions_total", "blue", "{{kind}}"),
    }
    for name, (series, colour, legend) in events.items():
        yield {
            "name": name,
            "datasource": SOURCE,
            "enable": True,
            "iconColor": colour,
            "expr": f"increase({series}[1m]) > 0",
            "titleFormat": legend,
        }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": WIDTH * column, "y": HEIGHT * row, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for at, (expression, legend) in enumerate(panel.lines)
        ],
    }


def write() -> None:
    """Write all dashboards."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(dashboard(name))


if __name__ == "__main__":
    write()
