"""Prometheus' rules: valid, tested one by one, explained one by one, and about metrics that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import pipeline.metrics  # noqa: F401 (declares the metrics)
from deploy.grafana.dashboards import DASHBOARDS, dashboard
from deploy.grafana.dashboards import FOLDER as DASHBOARD_FOLDER
from deploy.prometheus import slo
from pipeline.config import BridgeConfig, GatewayConfig, MetricsConfig, ServeConfig
from tests.support.debian import debian_program

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "alerts.yaml", FOLDER / "slo.yaml"
OF_OTHERS = {"process_resident_memory_bytes"}
"""Metrics that the client has of itself, on Linux."""


def alerts() -> list[dict[str, Any]]:
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def exposed() -> set[str]:
    """The names of all series, as rules may use them."""
    names = set()
    for family in REGISTRY.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    return names


def named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:millstream|process)_[a-z_]+\b", text))


@pytest.mark.parametrize(
    "arguments", [["check", "config", "prometheus.yaml"], ["test", "rules", "tests.yaml"]]
)
def test_promtool_accepts_the_configuration_and_the_rules(arguments: tuple[str, ...]) -> None:
    tool = debian_program("prometheus", "promtool")
    done = subprocess.run([tool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in alerts()}))
def test_each_alert_has_a_section_a_test_and_somebody_to_tell(alert: str) -> None:
    own = [rule for rule in alerts() if rule["alert"] == alert]
    for rule in own:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{alert.lower()}"
    assert f"\n### {alert}\n" in (ROOT / "docs" / "alerts.md").read_text()
    assert alert in (FOLDER / "tests.yaml").read_text()


def test_each_section_is_about_an_alert() -> None:
    sections = re.findall(r"^### (.*)$", (ROOT / "docs" / "alerts.md").read_text(), flags=re.MULTILINE)
    assert sorted(sections) == sorted({rule["alert"] for rule in alerts()})


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_rules_are_about_series_that_there_are(file: Path) -> None:
    used = named(file.read_text())
    assert used
    assert used <= exposed()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_generated_and_about_series_that_there_are(name: str) -> None:
    page = dashboard(name)
    assert (DASHBOARD_FOLDER / f"{name}.json").read_text() == page, "run python -m deploy.grafana.dashboards"
    used = named(page)
    assert used
    assert used <= exposed() | OF_OTHERS


def test_the_objectives_are_generated() -> None:
    assert slo.FILE.read_text() == slo.rules(), "run python -m deploy.prometheus.slo"


def test_the_objectives_are_about_buckets_that_there_are() -> None:
    buckets = {
        (sample.name, sample.labels["le"])
        for family in REGISTRY.collect()
        for sample in family.samples
        if "le" in sample.labels
    }
    pipeline.metrics.REQUEST_SECONDS.labels("route", "200")
    assert ("millstream_appended_to_served_seconds_bucket", "5.0") in buckets
    assert 0.25 in pipeline.metrics.SECONDS


def test_the_targets_are_the_default_ports() -> None:
    written = (FOLDER / "prometheus.yaml").read_text()
    metrics = MetricsConfig()
    served = {config().port for config in (ServeConfig, GatewayConfig, BridgeConfig)}
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", written)}
    assert ports == {metrics.learn, metrics.retrain, metrics.media, *served}
