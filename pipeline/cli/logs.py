"""The lines of a process: text for people, or JSON with one field for each fact."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import orjson

from pipeline.config import LoggingConfig, Settings

PACKAGE = "millstream"
NO_FACTS = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}
"""Attributes of records that are no facts; the last is uvicorn's message again, with colours."""

log = logging.getLogger(__name__)


def write_logs(config: LoggingConfig, command: str, worker: int | None = None) -> None:
    """Write the lines of this process to stderr, in the form and from the levels on that the settings say."""
    handler = logging.StreamHandler()
    is_json = config.format == "json"
    handler.setFormatter(JsonLines(command, worker) if is_json else text_lines(worker))
    logging.captureWarnings(is_json)  # else libraries write them between the lines
    logging.basicConfig(level=config.level.upper(), handlers=[handler])
    for name, level in config.levels.items():
        logging.getLogger(name).setLevel(level.upper())


def text_lines(worker: int | None) -> logging.Formatter:
    """Make the form for people; lines of a worker name it."""
    who = "" if worker is None else f"worker {worker} "
    return logging.Formatter(f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object.

    Its fields: `time` (UTC), `level`, `logger`, `message`, `daemon` (the command), `worker` of a server with
    several, `exception` with a traceback, and each fact that the line was given as `extra`.
    """

    def __init__(self, command: str, worker: int | None) -> None:
        super().__init__()
        self._whose: dict[str, Any] = {"daemon": command} | ({} if worker is None else {"worker": worker})

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as a line of JSON."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._whose,
            **{name: fact for name, fact in vars(record).items() if name not in NO_FACTS},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def say_start(daemon: str, settings: Settings, host: str, port: int) -> None:
    """Write the first line of a daemon: what it is, its version, its log and where it answers."""
    release, where = version(PACKAGE), settings.log
    facts = {"version": release, "log": where.url, "prefix": where.prefix, "host": host, "port": port}
    answers = f"answers at {host}:{port}" if port else "answers nowhere"
    log.info(
        "%s %s starts: log %s, prefix %s, %s", daemon, release, where.url, where.prefix, answers, extra=facts
    )


def command_in(arguments: list[str]) -> str:
    """Return the command that command-line arguments name, or that of the whole program."""
    return next((word for word in arguments if not word.startswith("-")), PACKAGE)


def is_for_people(config: LoggingConfig) -> bool:
    """Return whether a person reads what this process ends with."""
    return config.format == "text" or sys.stderr.isatty()
