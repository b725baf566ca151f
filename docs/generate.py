"""Write what the docs have of the classes, the settings page and the schemas: `make settings` runs it.

They must never say anything that the classes do not, so nobody edits them by hand; a test
compares the committed files with what this module makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from docs.schemas import documents
from pipeline.config import Settings

PAGE = Path(__file__).with_name("settings.md")
INTRODUCTION = """# Settings

<!-- Generated from the settings classes by docs/generate.py. Do not edit: run `make settings`. -->

Settings are read from `millstream.toml` in the working directory, or from the file that the
environment variable `MILLSTREAM_CONFIG` names. An environment variable overrides the file: its
name is `MILLSTREAM_`, then the tables and the key in capitals, joined by two underscores, as in
`MILLSTREAM_LOG__PARTITIONS=4`. An unknown key, or a value outside its bounds, is an error at start.

`millstream config` prints the settings in force: defaults, file and environment together.
"""
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "pattern": "matches `{}`",
}
LENGTHS = {"minLength": "minItems", "maxLength": "maxItems"}
FORMATS = {"path": "path", "password": "secret"}
"""What a string is, by its format in the JSON schema."""

Schema = Mapping[str, Any]


def settings_page(model: type[BaseModel]) -> str:
    """Render all tables of a settings class as Markdown; nested models become tables of their own."""
    return "\n".join([INTRODUCTION, *_sections(model, _defaults(model), ())])


def _sections(model: type[BaseModel], defaults: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Render one table and then the tables below it; `path` names the table, empty for the top."""
    schema = model.model_json_schema()
    leaves = [name for name in model.model_fields if _table(model, name) is None]
    if path or leaves:
        yield f"## `[{'.'.join(path)}]`\n" if path else "## Top level\n"
    if path and model.__doc__:
        yield f"{_one_line(model.__doc__)}\n"
    if leaves:
        yield "| key | type | default | bounds | description |\n|---|---|---|---|---|"
        yield from (_row(name, schema, defaults[name]) for name in leaves)
        yield ""
    for name in model.model_fields:
        if (table := _table(model, name)) is not None:
            yield from _sections(table, defaults[name], (*path, name))


def _row(name: str, schema: Schema, default: object) -> str:
    field = _resolved(schema["properties"][name], schema)
    cells = (
        f"`{name}`",
        _type(field, schema),
        f"`{json.dumps(default, ensure_ascii=False)}`",
        "; ".join(_bounds(field)),
        _one_line(schema["properties"][name].get("description", "")),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the model of a field that is a table of its own."""
    annotation = model.model_fields[name].annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Return every default as JSON has it, whatever file and environment say."""
    fields = {name: f.get_default(call_default_factory=True) for name, f in model.model_fields.items()}
    return model.model_construct(**fields).model_dump(mode="json")


def _resolved(field: Schema, schema: Schema) -> Schema:
    """Follow a reference, as enumerations are written."""
    reference = field.get("$ref") or next((part["$ref"] for part in field.get("allOf", ())), None)
    return schema["$defs"][reference.rpartition("/")[2]] if reference else field


def _type(field: Schema, schema: Schema) -> str:
    """Name a type in words."""
    field = _resolved(field, schema)
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(part, schema) for part in field["anyOf"])
    match field.get("type"):
        case "array":
            return f"list of {_type(field['items'], schema)}"
        case "object" if "properties" in field:
            return f"table with {', '.join(f'`{name}`' for name in field['properties'])}"
        case "object" if "patternProperties" in field:  # what keys are like is one of the bounds
            (values,) = field["patternProperties"].values()
            return f"table of {_type(values, schema)}"
        case "object":
            return f"table of {_type(field['additionalProperties'], schema)}"
        case "string":
            return FORMATS.get(field.get("format", ""), "string")
        case kind:
            return str(kind)


def _bounds(field: Schema) -> Iterator[str]:
    for part in (field, *field.get("anyOf", ())):
        # Pydantic bounds an array that may be given as text by its length.
        named = LENGTHS if part.get("type") == "array" else {}
        bounds = {named.get(bound, bound): value for bound, value in part.items()}
        yield from (words.format(bounds[bound]) for bound, words in BOUNDS.items() if bound in bounds)


def _one_line(text: str) -> str:
    """Join the lines of a description; a docstring's leading `[table]` repeats the heading."""
    line = " ".join(text.split())
    return line.partition("] ")[2] if line.startswith("[") and "] " in line else line


if __name__ == "__main__":
    for path, content in {PAGE: settings_page(Settings), **documents()}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        sys.stdout.write(f"{path} is written\n")
