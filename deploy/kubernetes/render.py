"""Render the chart as plain manifests, with Helm's own engine, for those without Helm.

    python -m deploy.kubernetes.render

It writes `manifests.yaml` from the values in `values.yaml` of the chart; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python

CHART = Path(__file__).parent / "chart"
FILE = Path(__file__).parent / "manifests.yaml"
HEAD = """# Written by `python -m deploy.kubernetes.render`, from deploy/kubernetes/chart and its values.
#   kubectl apply -n millstream -f deploy/kubernetes/manifests.yaml
"""


def rendered(values: Mapping[str, Any] | None = None) -> str:
    """Render all manifests as YAML, with values in place of the chart's."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(dict(values or {}), name="millstream", namespace="millstream")
    parts = (text.strip() for name, text in sorted(files.items()) if name.endswith(".yaml"))
    return "\n---\n".join(part.removeprefix("---").strip() for part in parts if part) + "\n"


if __name__ == "__main__":
    FILE.write_text(HEAD + rendered())
