"""What every config class shares: frozen, no unknown keys, docstrings as descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode


class Config(BaseModel):
    """Base of all config classes; a component takes its own as it is nested in the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values.

        Raises:
            pydantic.ValidationError: one of them is unknown or out of bounds.
        """
        return type(self).model_validate({**dict(self), **changes})


SHORTEST_SECRET = 16
"""Characters; a variable that is not set gives an empty secret, which must not count as one."""


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().strip()) < SHORTEST_SECRET:
        raise ValueError(
            f"a key has at least {SHORTEST_SECRET} characters: make one with `openssl rand -hex 32`, or "
            "leave the setting out"
        )
    return secret


def _long_enough_if_set(secret: SecretStr | None) -> SecretStr | None:
    return None if secret is None else _long_enough(secret)


def listed(value: object) -> object:
    """Read the text of a list, as an environment variable holds it: JSON, or divided by commas."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("[", '"')):
        return [part.strip() for part in value.split(",")]
    try:
        found = json.loads(value)
    except ValueError:
        raise ValueError('a list is written as ["one", "another"], or divided by commas') from None
    return [found] if isinstance(found, str) else found


def _named(path: object) -> object:
    """Refuse the path of a variable that is empty, which would be the folder where the process started."""
    if isinstance(path, str) and not path.strip():
        raise ValueError("is empty: name a path, or leave the setting out")
    return path


NamedPath = Annotated[Path, BeforeValidator(_named)]
NamedPathOrNone = Annotated[Path | None, BeforeValidator(_named)]
Secret = Annotated[SecretStr, AfterValidator(_long_enough)]
Secrets = Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(listed), Field(max_length=1_000)]
SecretOrNone = Annotated[SecretStr | None, AfterValidator(_long_enough_if_set)]
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
Precision = Literal["float32", "bfloat16"]
