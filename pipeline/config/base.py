"""What every config class shares: frozen, no unknown keys, docstrings as descriptions."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Base of all config classes; a component takes its own as it is nested in the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values.

        Raises:
            pydantic.ValidationError: one of them is unknown or out of bounds.
        """
        return type(self).model_validate({**dict(self), **changes})


Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=1_000_000_000)]
Layers = Annotated[int, Field(ge=1, le=256)]
Rank = Annotated[int, Field(ge=1, le=4_096)]
Rate = Annotated[float, Field(gt=0, le=10)]
Weight = Annotated[float, Field(ge=0, le=1_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
SecondsOrNone = Annotated[float, Field(ge=0, le=86_400)]
Hours = Annotated[float, Field(gt=0, le=24 * 3_660)]
Threads = Annotated[int, Field(ge=1, le=1_024)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Text = Annotated[str, Field(min_length=1, max_length=4_096)]
