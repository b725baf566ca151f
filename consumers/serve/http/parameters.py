"""The query parameters of recommendations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from fastapi import Query
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator, TypeAdapter, ValidationError, WithJsonSchema

from consumers.serve.query import ALL_TYPES
from consumers.serve.schemas import MAX_EXCLUDED
from pipeline.events import Id, InteractionType
from pipeline.http.parameters import fault

MAX_CONTEXT = 8
MAX_CONTEXT_CHARACTERS = 400
"""Of all together, so that an impression can hold them."""
OF_THE_REQUEST = frozenset({"query", "k", "category"})
"""Names that the request itself has in the conditions of rules."""
COMMA = "no item has this id, which holds a comma: to leave out several, repeat exclude=A&exclude=B"
SeenType = Annotated[InteractionType | Literal["true", "false"], BeforeValidator(str.lower)]
"""Python writes True."""
Session = Annotated[
    Id | None,
    Query(
        description="The user's current session; one that differs from the last act's begins a new basket."
    ),
]
Exclude = Annotated[
    Sequence[Id], Query(max_length=MAX_EXCLUDED, description="Item to leave out; repeat for several.")
]
Category = Annotated[
    str | None, Query(min_length=1, max_length=256, description="Only items of this category.")
]
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
Recorded = Annotated[
    bool,
    Query(
        description="Whether the answer is written to the log as an impression. Without, as for somebody who "
        "only looks, the policy explores nothing and nothing counts as shown."
    ),
]
Explain = Annotated[
    bool, Query(description="Say of each item what its score is made of, and which act it is owed to.")
]
Pair = Annotated[
    Id,
    WithJsonSchema(
        {"type": "string", "maxLength": 128, "pattern": r"^[^=\x00-\x1f\x7f]+=[^\x00-\x1f\x7f]*$"}
    ),
]
ContextPairs = Annotated[
    Sequence[Pair],
    Query(
        max_length=MAX_CONTEXT,
        description="What business rules may know of the request, as name=value such as page=home; repeat "
        "for several.",
    ),
]


_ID = TypeAdapter[str](Id)


def is_id(text: str) -> bool:
    """Whether a text may be the id of a user or an item."""
    try:
        _ID.validate_python(text)
    except ValidationError:
        return False
    return True


def types_of(exclude_seen: Sequence[SeenType]) -> frozenset[InteractionType]:
    """Return the types of acts whose items are left out."""
    if "true" in exclude_seen:
        return ALL_TYPES
    return frozenset(InteractionType(kind) for kind in exclude_seen if kind != "false")


def read_context(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read what a request says of itself, from ``name=value`` pairs; sorted by name.

    Raises:
        RequestValidationError: a pair has another form, a name comes twice or is taken, or they are too long.
    """
    read = [tuple(pair.partition("=")[::2]) for pair in pairs]
    names = [name for name, _ in read]
    if any("=" not in pair for pair in pairs) or not all(names):
        raise RequestValidationError(
            [fault("context", "send it as context=page%3Dhome: a name, = and a value")]
        )
    if taken := OF_THE_REQUEST.intersection(names):
        raise RequestValidationError([fault("context", f"{min(taken)} is what the request itself says")])
    if len(set(names)) < len(names):
        raise RequestValidationError([fault("context", "has a name twice: send each once")])
    if sum(map(len, pairs)) > MAX_CONTEXT_CHARACTERS:
        raise RequestValidationError(
            [fault("context", f"is longer than {MAX_CONTEXT_CHARACTERS} characters")]
        )
    return tuple(sorted((name, value) for name, value in read))


def check_excluded(unknown: Iterable[str]) -> None:
    """Refuse an excluded item that nobody knows if it looks like a list of several.

    Raises:
        RequestValidationError: one of the unknown ids holds a comma.
    """
    if any("," in item for item in unknown):
        raise RequestValidationError([fault("exclude", COMMA)])
