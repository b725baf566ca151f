"""A process of `millstream`: what it imports and logs, and how it ends with an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from pipeline.cli.imports import refuse_unused
from pipeline.errors import MillstreamError


@contextmanager
def process() -> Iterator[None]:
    """Prepare the process; report a `MillstreamError` in one line, with exit status 1."""
    refuse_unused()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        yield
    except MillstreamError as error:
        line = f"[red]{type(error).__name__}[/]: {escape(str(error))}"
        Console(stderr=True).print(line, highlight=False, soft_wrap=True)
        sys.exit(1)
