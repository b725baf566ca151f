"""A process of `millstream`: what it imports and logs, and how it ends with an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from pipeline.cli.imports import refuse_unused
from pipeline.cli.logs import command_in, is_for_people, write_logs
from pipeline.config import load_logging
from pipeline.errors import MillstreamError

log = logging.getLogger(__name__)


@contextmanager
def process(worker: int | None = None) -> Iterator[None]:
    """Prepare the process; report an error in one line, with exit status 1.

    What nobody foresaw is a traceback; where lines are JSON, within a line.
    """
    refuse_unused()
    config = load_logging()
    write_logs(config, command_in(sys.argv[1:]), worker)
    try:
        yield
    except MillstreamError as error:
        name = type(error).__name__
        if is_for_people(config):
            line = f"[red]{name}[/]: {escape(str(error))}"
            Console(stderr=True).print(line, highlight=False, soft_wrap=True)
        else:
            log.critical("%s: %s", name, error, extra={"error": name})
        sys.exit(1)
    except Exception as error:
        if is_for_people(config):
            raise
        log.critical("unforeseen: %s", error, exc_info=True, extra={"error": type(error).__name__})
        sys.exit(1)
