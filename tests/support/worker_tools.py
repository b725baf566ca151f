"""What worker processes of tests do; processes import it by name."""

from __future__ import annotations

import sys

from consumers.serve.workers import Worker
from pipeline.config import Settings


def fails(_: Settings, worker: Worker) -> None:
    """End at once."""
    sys.exit(3)
