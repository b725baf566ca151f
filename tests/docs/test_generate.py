"""The settings page of any settings class: nested tables, defaults by place, types and bounds in words."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from docs.generate import settings_page


class _Mode(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"


class _Rates(BaseModel):
    """Learning rates."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Of the shared
    weights."""


class _Learn(BaseModel):
    """[learn] How it learns."""

    mode: _Mode = _Mode.AUTO
    rates: _Rates = _Rates(rate=0.5)


class _Only(BaseModel):
    rates: _Rates = Field(default_factory=_Rates)


class _Settings(BaseModel):
    store: Path = Path("run")
    learn: _Learn = _Learn()
    retrain: _Only = _Only()
    kind: Literal["a", "b"] = "b"
    most: Annotated[int, Field(ge=0)] | None = None
    keys: tuple[SecretStr, ...] = ()
    options: dict[str, SecretStr] = Field(default_factory=dict)


PAGE = settings_page(_Settings)


def test_tables_below_tables_have_headings_of_their_own() -> None:
    headings = [line for line in PAGE.splitlines() if line.startswith("## ")]
    tables = ["## `[learn]`", "## `[learn.rates]`", "## `[retrain]`", "## `[retrain.rates]`"]
    assert headings == ["## Top level", *tables]
    assert "\nHow it learns.\n" in PAGE


def test_a_default_is_that_of_its_place() -> None:
    rates = [line for line in PAGE.splitlines() if line.startswith("| `rate` ")]
    assert rates == [
        "| `rate` | number | `0.5` | > 0; ≤ 1 | Of the shared weights. |",
        "| `rate` | number | `0.1` | > 0; ≤ 1 | Of the shared weights. |",
    ]


def test_types_and_bounds_are_words() -> None:
    rows = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `")}
    assert rows["store"] == '| `store` | path | `"run"` |  |  |'
    assert rows["mode"] == '| `mode` | `"auto"` or `"manual"` | `"auto"` |  |  |'
    assert rows["kind"] == '| `kind` | `"a"` or `"b"` | `"b"` |  |  |'
    assert rows["most"] == "| `most` | integer or null | `null` | ≥ 0 |  |"
    assert rows["keys"] == "| `keys` | list of secret | `[]` |  |  |"
    assert rows["options"] == "| `options` | table of secret | `{}` |  |  |"
