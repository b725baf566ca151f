"""The demo as a user runs it, on the embedded log and on a real Kafka broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson

from tests.e2e.conftest import CACHE


def test_the_demo_ends_by_itself_with_the_mixture_ahead(log_url: str, tmp_path: Path) -> None:
    on_kafka = ("--log", log_url) if log_url.startswith("kafka") else ()
    command = ("demo", "shop", *on_kafka, "--limit", "4000", "--rate", "400", "--report", "report.json")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *command],
        cwd=tmp_path,
        env={**os.environ, "MILLSTREAM_MODEL__CACHE": str(CACHE), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = orjson.loads((tmp_path / "report.json").read_bytes())
    assert report["events"] == 4_000
    quality = {scorer: slices["all"] for scorer, slices in report["quality"].items()}
    for baseline in ("covisitation", "popularity"):
        assert quality["mixture"]["hr@20"] > quality[baseline]["hr@20"]
        assert quality["mixture"]["mrr@20"] > quality[baseline]["mrr@20"]
    assert 0 < report["freshness_seconds"]["p50"] <= report["freshness_seconds"]["p95"]
    assert "recommended" in done.stdout
