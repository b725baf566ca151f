"""Prometheus' programs: from the path or Debian's package; elsewhere their tests are skipped aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.prometheus.promtool import Program, program


def prometheus_program(name: Program) -> Path:
    """The path of a program; skips the test where it cannot be had, except under CI."""
    try:
        return program(name)
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
