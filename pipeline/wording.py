"""Words for people: counts, and all faults of settings in plain English, with the nearest names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.event_fields import nearest

MOST_FAULTS = 10
"""Faults that are named; whoever has more of them has another file."""
MUST = re.compile(r"^(Input|String|List|Tuple|Dictionary|Value|Set) should ")


def faults_in(error: ValidationError, model: type[BaseModel], whole: str) -> str:
    """Say all that is wrong, without the values, in one line: ``learn.sede: is unknown; did you mean seed?``.

    Args:
        error: of a validation.
        model: what was validated.
        whole: stands for the place of a fault that is no single field's.
    """
    problems = error.errors(include_url=False)
    lines = [
        f"{'.'.join(map(str, problem['loc'])) or whole}: {_reason(problem, model)}"
        for problem in problems[:MOST_FAULTS]
    ]
    more = len(problems) - len(lines)
    return "; ".join([*lines, *([f"and {more} more"] if more else [])])


def counted(number: int, noun: str) -> str:
    """Say how many: ``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name the nearest known name, if one is near: text to append to a reason."""
    near = nearest(name, known)
    return f" (did you mean {near}?)" if near else ""


def _reason(problem: ErrorDetails, model: type[BaseModel]) -> str:
    message = problem["msg"]
    match problem["type"]:
        case "extra_forbidden":
            fields = _fields(model, problem["loc"][:-1])
            return f"is unknown{did_you_mean(str(problem['loc'][-1]), fields)}"
        case "value_error":
            return message.removeprefix("Value error, ")
        case "missing":
            return "is missing"
        case "literal_error" | "enum":
            values = re.findall(r"'([^']+)'", message)
            return MUST.sub("must ", message) + did_you_mean(str(problem["input"]), values)
    return MUST.sub("must ", message)


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The fields of what stands at a place of a model."""
    for part in place:
        if part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field has, or the members of its list or dictionary have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
