"""Settings as TOML, each with what it means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.base import Config
from pipeline.config.settings import Settings

BARE_KEY = re.compile("[A-Za-z0-9_-]+")


def to_toml(settings: Settings, tables: Iterable[str] = Settings.model_fields) -> str:
    """Write tables of the settings as TOML, each setting with its description; secrets are masked."""
    lines = (line for table in tables for line in _tables(getattr(settings, table), table))
    return "\n".join(lines).lstrip("\n") + "\n"


def _tables(model: BaseModel, name: str) -> Iterator[str]:
    """A model's own keys, then a table for each config class that is nested in it."""
    fields = type(model).model_fields
    plain = model.model_dump(mode="json")
    if own := [key for key in fields if not isinstance(getattr(model, key), Config)]:
        yield from ("", f"[{name}]")
        yield from (_line(key, plain[key], fields[key]) for key in own)
    for key in fields:
        nested = getattr(model, key)
        if isinstance(nested, Config):
            yield from _tables(nested, f"{name}.{key}")


def _line(key: str, value: object, field: FieldInfo) -> str:
    about = " ".join((field.description or "").split())
    if value is None:
        return f"# {key} = …" + (f"  # {about}" if about else "")
    return f"{key} = {_toml(value)}" + (f"  # {about}" if about else "")


def _key(key: str) -> str:
    """Names of topics have dots, which would divide the key."""
    return key if BARE_KEY.fullmatch(key) else _toml(key)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(_toml(part) for part in value) + "]"
        case dict():
            there = {key: part for key, part in value.items() if part is not None}
            return "{" + ", ".join(f"{_key(key)} = {_toml(part)}" for key, part in there.items()) + "}"
        case _:
            return str(value)
