"""Bounded types of what daemons write for each other: control records, journal, manifests, plans.

The log and the stores are shared, so a reader checks every field as if a stranger had written it.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

LONGEST_REASON = 1_000

Count = Annotated[int, Field(ge=0, le=2**62)]
Generation = Annotated[int, Field(ge=0, lt=10**9)]
Step = Annotated[int, Field(ge=0, lt=10**15)]
VersionText = Annotated[str, Field(pattern=r"^[0-9]{1,9}-[0-9]{1,15}$")]
"""``<generation>-<step>``."""
Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}/[0-9]{1,5}$")]
"""``topic/partition``."""
Name = Annotated[str, Field(min_length=1, max_length=256)]
Key = Annotated[str, Field(max_length=512)]
"""Of a record of the control topic."""
Bytes = Annotated[int, Field(ge=0, le=2**50)]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
TopicIds = Annotated[dict[TopicName, Key], Field(max_length=16)]
"""By topic, the id that the log gave it at its creation."""


UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, which forge lines of a log or steer a terminal, and those that turn the direction."""


def mended(text: str) -> str:
    """Cut a text off, and replace what is no printable Unicode, such as a file's name may have."""
    unicode = text[:LONGEST_REASON].encode(errors="replace").decode()
    return UNPRINTABLE.sub(" ", unicode)


Reason = Annotated[str, AfterValidator(mended)]
"""Mended rather than refused: people and other programs' errors write it."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
StatePath = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART}){{0,3}}$")]
"""Of a checkpoint below the model's folder: it cannot lead out of it."""

LONGEST_FAULT = 300


def fault_of(error: Exception) -> str:
    """Say in one line what is wrong: of a validation, the first field and its fault, never the value."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        reason = fault["msg"].removeprefix("Value error, ")
        return f"{'.'.join(str(part)[:80] for part in fault['loc'])}: {reason}"[:LONGEST_FAULT]
    return " ".join(str(error).split())[:LONGEST_FAULT]
