"""Query parameters: what they are, and the refusal of others with the nearest name, never in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from consumers.serve.query import ALL_TYPES
from consumers.serve.schemas import MAX_EXCLUDED
from pipeline.event_fields import nearest
from pipeline.events import Id, InteractionType

SYNONYMS = dict.fromkeys(("n", "count", "limit", "num", "number", "size", "top", "top_k", "topk"), "k")
"""What other services call a parameter that no spelling is near to."""
REPEATED = frozenset({"exclude", "exclude_seen", "context"})
MAX_CONTEXT = 8
MAX_CONTEXT_CHARACTERS = 400
"""Of all together, so that an impression can hold them."""
OF_THE_REQUEST = frozenset({"query", "k", "category"})
"""Names that the request itself has in the conditions of rules."""
MAX_NAME_CHARACTERS = 64
"""Longest part of a name that an answer repeats: the sender chose it."""
COMMA = "no item has this id, which holds a comma: to leave out several, repeat exclude=A&exclude=B"

SeenType = InteractionType | Literal["true", "false"]
Session = Annotated[
    Id | None,
    Query(
        description="The user's current session; one that differs from the last act's begins a new basket."
    ),
]
Exclude = Annotated[
    Sequence[Id], Query(max_length=MAX_EXCLUDED, description="Item to leave out; repeat for several.")
]
Category = Annotated[str | None, Query(max_length=256, description="Only items of this category.")]
ExcludeSeen = Annotated[
    Sequence[SeenType],
    Query(
        max_length=len(ALL_TYPES),
        description="Leave out what the user ever acted on in this way, or in any with true; repeat for "
        "several. Customers buy again, so the default is the setting serve.exclude_seen.",
    ),
]
Diversity = Annotated[
    float,
    Query(
        ge=0,
        le=1,
        description="How much to avoid items that are near each other: 0 ranks by score alone, 1 by distance "
        "alone after the first item.",
    ),
]
MostPerCategory = Annotated[
    int | None, Query(ge=1, le=10_000, description="Maximum number of items of one category.")
]
Explain = Annotated[
    bool, Query(description="Say of each item what its score is made of, and which act it is owed to.")
]
ContextPairs = Annotated[
    Sequence[Id],
    Query(
        max_length=MAX_CONTEXT,
        description="What business rules may know of the request, as name=value such as page=home; repeat "
        "for several.",
    ),
]


def types_of(exclude_seen: Sequence[SeenType]) -> frozenset[InteractionType]:
    """Return the types of acts whose items are left out."""
    if "true" in exclude_seen:
        return ALL_TYPES
    return frozenset(InteractionType(kind) for kind in exclude_seen if kind != "false")


def check_parameters(request: Request) -> None:
    """Refuse a parameter that the route does not have, and one that may be sent only once but was repeated.

    Raises:
        RequestValidationError: names each such parameter, and the nearest one or the remedy.
    """
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = set(_parameters(route.dependant))
    faults = []
    for name, times in Counter(key for key, _ in request.query_params.multi_items()).items():
        if name not in known:
            faults.append(_fault(name, _remedy(name, known)))
        elif times > 1 and name not in REPEATED:
            faults.append(_fault(name, "is sent more than once: send it once"))
    if faults:
        raise RequestValidationError(faults)


def read_context(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read what a request says of itself, from ``name=value`` pairs; sorted by name.

    Raises:
        RequestValidationError: a pair has another form, a name comes twice or is taken, or they are too long.
    """
    read = [tuple(pair.partition("=")[::2]) for pair in pairs]
    names = [name for name, _ in read]
    if any("=" not in pair for pair in pairs) or not all(names):
        raise RequestValidationError(
            [_fault("context", "send it as context=page%3Dhome: a name, = and a value")]
        )
    if taken := OF_THE_REQUEST.intersection(names):
        raise RequestValidationError([_fault("context", f"{min(taken)} is what the request itself says")])
    if len(set(names)) < len(names):
        raise RequestValidationError([_fault("context", "has a name twice: send each once")])
    if sum(map(len, pairs)) > MAX_CONTEXT_CHARACTERS:
        raise RequestValidationError(
            [_fault("context", f"is longer than {MAX_CONTEXT_CHARACTERS} characters")]
        )
    return tuple(sorted((name, value) for name, value in read))


def check_excluded(unknown: Iterable[str]) -> None:
    """Refuse an excluded item that nobody knows if it looks like a list of several.

    Raises:
        RequestValidationError: one of the unknown ids holds a comma.
    """
    if any("," in item for item in unknown):
        raise RequestValidationError([_fault("exclude", COMMA)])


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


def _fault(name: str, message: str) -> dict[str, object]:
    return {"loc": ("query", name[:MAX_NAME_CHARACTERS]), "msg": message, "type": "parameter"}
