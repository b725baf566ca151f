"""What is not valid is said in plain words, with the nearest known names, and without the validator's own."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.wording import counted, faults_in, listed

Scalar = Annotated[str, Field(max_length=3)] | bool | int


class Act(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    item: Annotated[str, Field(min_length=1)]
    time: int | None = None
    kind: Literal["view", "click"] = "view"


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    history: Annotated[list[Act], Field(max_length=2)]
    last: Act | None = None
    attributes: dict[Annotated[str, Field(min_length=1)], Scalar | list[Scalar]] = {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "all: must be a valid dictionary"),
        ({"histroy": []}, "history: is missing; histroy: is unknown (did you mean history?)"),
        (
            {"history": [{"itme": "a"}]},
            "history.0.item: is missing; history.0.itme: is unknown (did you mean item?)",
        ),
        ({"history": [{"item": "a", "tme": 1}]}, "history.0.tme: is unknown (did you mean time?)"),
        ({"history": [], "last": {"item": "a", "zzz": 1}}, "last.zzz: is unknown"),
        ({"history": [{"item": "a"}] * 3}, "history: must have at most 2 items, not 3"),
        (
            {"history": [{"item": "a", "kind": "vew"}]},
            "history.0.kind: must be 'view' or 'click' (did you mean view?)",
        ),
        ({"history": [{"item": "a", "time": "5"}]}, "history.0.time: must be a valid integer"),
        ({"history": [], "attributes": {"": 5}}, "attributes.: its name must have at least 1 character"),
        (
            {"history": [], "attributes": {"plan": None}},
            "attributes.plan: must be a valid string or boolean or integer or list",
        ),
        (
            {"history": [], "attributes": {"plan": [None]}},
            "attributes.plan: must be a valid string or boolean or integer; "
            "attributes.plan.0: must be a valid string or boolean or integer",
        ),
    ],
)
def test_faults_name_the_field_and_the_nearest_known(content: object, said: str) -> None:
    with pytest.raises(ValidationError) as invalid:
        Request.model_validate(content)
    assert faults_in(invalid.value, Request, "all") == said


def test_names_that_a_sender_chose_are_cut() -> None:
    with pytest.raises(ValidationError) as invalid:
        Request.model_validate({"history": [], "x" * 5_000: 1})
    assert len(faults_in(invalid.value, Request, "all")) < 200


def test_no_more_faults_than_wanted_are_named() -> None:
    assert listed(["a: 1", "b: 2", "c: 3"], 2) == "a: 1; b: 2; and 1 more"
    assert listed(["a: 1"], 2) == "a: 1"


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "answer", "0 answers"),
        (1, "answer", "1 answer"),
        (1_000, "entry", "1,000 entries"),
        (1, "history", "1 history"),
        (2, "day", "2 days"),
    ],
)
def test_one_is_not_several(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said
