"""Files of rules: TOML or JSON with a list `rules`."""

from __future__ import annotations

import tomllib
from pathlib import Path

import orjson

from pipeline.errors import InvalidEvent, InvalidSettings, RefusalReason
from pipeline.events import as_object
from pipeline.rules.rule import MAX_RULES, Rule, build_rule

MAX_FILE_BYTES = 16_000_000


def read_rules(path: Path) -> list[Rule]:
    """Read the rules of a file.

    Raises:
        InvalidSettings: the file cannot be read, is neither TOML nor JSON, or holds no rules, too many,
            two of one name, or an invalid one; names each fault.
    """
    listed = _listed(path)
    rules, faults = [], []
    for number, fields in enumerate(listed, start=1):
        try:
            rules.append(build_rule(as_object(fields)))
        except InvalidEvent as error:
            faults.append(f"{path}: rule {number}{_named(fields)}: {error}")
    names = [rule.name for rule in rules]
    faults += [f"{path}: {name} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    if faults:
        raise InvalidSettings("\n".join(faults))
    return rules


def _listed(path: Path) -> list[object]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidSettings(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        document = as_object(_parsed(path))
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read: {error.strerror}") from None
    except InvalidEvent as error:
        raise InvalidSettings(f"{path}: {error.reason}") from None
    listed = document.get("rules")
    if not isinstance(listed, list) or set(document) != {"rules"}:
        raise InvalidSettings(f"{path}: must have a list `rules` and nothing else: [[rules]] in TOML")
    if not 0 < len(listed) <= MAX_RULES:
        raise InvalidSettings(f"{path}: must have 1 to {MAX_RULES} rules")
    return listed


def _parsed(path: Path) -> object:
    """Parse a file as its name says; times of TOML become text, as JSON has them."""
    content = path.read_bytes()
    if not content.strip():
        raise InvalidEvent("event", "is empty: it must have a list `rules`", RefusalReason.NO_VALUE)
    try:
        if path.suffix == ".json":
            return orjson.loads(content)
        return orjson.loads(orjson.dumps(tomllib.loads(content.decode())))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidEvent("event", f"cannot be parsed: {error}", RefusalReason.NOT_JSON) from None


def _named(fields: object) -> str:
    name = fields.get("name") if isinstance(fields, dict) else None
    return f" ({name[:64]})" if isinstance(name, str) else ""
