"""Cases from real hands, in a folder beside some checkouts; elsewhere their tests are skipped aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "cases"


def case_file(name: str) -> Path:
    """The path of a case; skips the test where there is none, except under CI."""
    path = FOLDER / name
    if not path.exists() and os.environ.get("CI") != "true":
        pytest.skip(f"the case {name} is in ../shared/cases, which this machine does not have")
    return path
