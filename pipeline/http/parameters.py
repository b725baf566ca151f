"""Query parameters that a route does not have: refused with the nearest name, never ignored in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from pipeline.event_fields import nearest

SYNONYMS = dict.fromkeys(("n", "count", "limit", "num", "number", "size", "top", "top_k", "topk"), "k")
"""What other services call a parameter that no spelling is near to."""
REPEATED = frozenset({"exclude", "exclude_seen", "context"})
MAX_NAME_CHARACTERS = 64
"""Longest part of a name that an answer repeats: the sender chose it."""


async def check_parameters(request: Request) -> None:
    """Refuse a parameter that the route does not have, and one that may be sent only once but was repeated.

    Raises:
        RequestValidationError: names each such parameter, and the nearest one or the remedy.
    """
    if not request.query_params:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = set(_parameters(route.dependant))
    faults = []
    for name, times in Counter(key for key, _ in request.query_params.multi_items()).items():
        if name not in known:
            faults.append(fault(name, _remedy(name, known)))
        elif times > 1 and name not in REPEATED:
            faults.append(fault(name, "is sent more than once: send it once"))
    if faults:
        raise RequestValidationError(faults)


def _parameters(dependant: Dependant) -> Iterator[str]:
    """Yield the names of the query parameters of a route and of what it depends on."""
    yield from (field.alias for field in dependant.query_params)
    for part in dependant.dependencies:
        yield from _parameters(part)


def _remedy(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if not names:
        return "this route has no query parameters"
    near = nearest(name, names)
    synonym = SYNONYMS.get(name.lower())
    near = near or (synonym if synonym in names else None)
    meant = f"did you mean {near}? " if near else ""
    return f"is no parameter of this route; {meant}it has {', '.join(names)}"


def fault(name: str, message: str) -> dict[str, object]:
    """Describe what is wrong with a parameter, as FastAPI describes faults."""
    return {"loc": ("query", name[:MAX_NAME_CHARACTERS]), "msg": message, "type": "parameter"}
