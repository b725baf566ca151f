"""Words: counts, and plain English for what is not valid in settings, mappings and requests, with the nearest
names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.event_fields import MAX_FIELD_CHARACTERS, nearest

MOST_FAULTS = 10
"""Faults that are named; whoever has more of them has another file."""
MUST = re.compile(r"^(Input|String|List|Tuple|Dictionary|Value|Set) should ")
OF_PYTHON = re.compile(r" (or instance of \w+|or object to extract fields from|after validation)")
"""Words of Pydantic that mean nothing to people who write TOML or JSON."""
UNKNOWN = "is unknown"
VALID = "must be a valid "
KEY = "[key]"
"""The last part of a location that is the name of a value, and not the value."""
Problem = Mapping[str, Any]
"""What Pydantic says of one fault: type, location, message and input."""


def faults_in(error: ValidationError, model: type[BaseModel], whole: str) -> str:
    """Say all that is wrong, without the values, in one line: ``learn.sede: is unknown; did you mean seed?``.

    Args:
        error: of a validation.
        model: what was validated.
        whole: stands for the place of a fault that is no single field's.
    """
    found = faults_of(error.errors(include_url=False), model)
    return listed([f"{place or whole}: {reason}" for place, reason in found], MOST_FAULTS)


def faults_of(
    problems: Sequence[Problem], model: type[BaseModel], names_all: bool = False
) -> list[tuple[str, str]]:
    """Return place and reason of each fault; a value that fits no member of a union is one fault.

    Where no name is near an unknown one, `names_all` names all that there are: for models of few fields.
    """
    reasons = dict[tuple[str, bool], list[str]]()
    missing = {problem["loc"] for problem in problems if problem["type"] == "missing"}
    for problem in problems:
        place, is_member, known = _place(model, problem)
        *above, name = problem["loc"] or ("",)
        lacking = [one for one in known if (*above, one) in missing]
        meant = lacking if nearest(str(name), lacking) else known
        reason = reason_of(problem, meant)
        if names_all and reason == UNKNOWN:
            reason += f": there are only {', '.join(known)}"
        reasons.setdefault((place, is_member), []).append(reason)
    return [
        (place, text)
        for (place, is_member), said in reasons.items()
        for text in ([either(said)] if is_member else said)
    ]


def listed(faults: Sequence[str], most: int) -> str:
    """Join so many faults at most, and count the others."""
    more = len(faults) - most
    return "; ".join([*faults[:most], *([f"and {more} more"] if more > 0 else [])])


def counted(number: int, noun: str) -> str:
    """Say how many: ``1 row``, ``2 rows``, ``1,000 entries``."""
    several = f"{noun[:-1]}ies" if noun[-1] == "y" and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name the nearest known name, if one is near: text to append to a reason."""
    near = nearest(name, known)
    return f" (did you mean {near}?)" if near else ""


def reason_of(problem: Problem, known: Iterable[str] = ()) -> str:
    """Say what is wrong with a field; `known`: the names that may stand in the place of an unknown one."""
    message = OF_PYTHON.sub("", MUST.sub("must ", problem["msg"])).replace("valid tuple", "valid list")
    match problem["type"]:
        case "extra_forbidden":
            return f"{UNKNOWN}{did_you_mean(str(problem['loc'][-1]), known)}"
        case "value_error":
            return message.removeprefix("Value error, ")
        case "missing":
            return "is missing"
        case "json_invalid":
            return f"is no JSON: {problem['ctx']['error']}"
        case "literal_error" | "enum":
            values = re.findall(r"'([^']+)'", message)
            return message + did_you_mean(str(problem["input"]), values)
    return f"its name {message}" if KEY in problem["loc"] else message


def either(reasons: Sequence[str]) -> str:
    """Join what the members of a union say: ``must be a valid string or integer``."""
    first, *others = dict.fromkeys(reasons)
    begin = VALID if first.startswith(VALID) else ""
    return " or ".join([first, *(one.removeprefix(begin) for one in others)])


def _place(model: type[BaseModel], problem: Problem) -> tuple[str, bool, list[str]]:
    """Return where a fault is, whether it is one of several for a union, and the names known there.

    Parts of the location that name no field, key or index are members of a union, or Pydantic's own.
    """
    here, place, is_member = [model], list[str](), False
    for part in problem["loc"]:
        further = [one for annotation in here for one in _further(annotation, part)]
        if further or (problem["type"] == "extra_forbidden" and part == problem["loc"][-1]):
            place.append(str(part))
            here = further or here
        else:
            is_member = True
    known = [name for one in here if _is_model(one) for name in one.model_fields]
    return ".".join(place)[:MAX_FIELD_CHARACTERS], is_member, known


def _further(annotation: Any, part: int | str) -> Iterator[Any]:
    """Yield what may stand below a part of a location: a field, an index or a key; a union's members."""
    if _is_model(annotation):
        if part in annotation.model_fields:
            yield from _members(annotation.model_fields[part].annotation)
    elif isinstance(origin := get_origin(annotation), type) and part != KEY:
        of = get_args(annotation)
        if issubclass(origin, Mapping):
            yield from _members(of[1])
        elif issubclass(origin, Sequence) and isinstance(part, int):
            yield from _members(of[0])


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union; of anything else itself, without what annotates it."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _members(one)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
