"""Send both applications many requests that schemathesis makes up; exit status 1 at the first wrong answer.

python -m tests.fuzz.run --cases 2000 --seed 0
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.fuzz.apps import APPS
from tests.fuzz.requests import fuzz


def main(
    cases: Annotated[
        int, typer.Option(help="Valid requests to each operation, and as many invalid ones.")
    ] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the requests.")] = 0,
) -> None:
    """Print the statuses of the answers to each operation."""
    logging.disable(logging.WARNING)  # each refusal is meant
    for name, answering in APPS.items():
        with tempfile.TemporaryDirectory() as folder, answering(Path(folder)) as make:
            for label, statuses in fuzz(make, cases, seed).items():
                counts = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
                sys.stdout.write(f"{name}: {label}: {counts or 'none are possible'}\n")


if __name__ == "__main__":
    typer.run(main)
