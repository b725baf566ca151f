"""Attributes of users give a vector that is zero at birth, and the same for the same values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.config import CODE_WIDTH
from pipeline.model.introduction import Introduction, codes_of
from pipeline.state.profiles import stored_attributes

WIDTH = 8
NAMES = ("country", "tags")
CPU = torch.device("cpu")


def test_it_says_nothing_at_birth_and_has_no_parameters_without_names() -> None:
    german = stored_attributes({"country": "DE"})
    assert not Introduction(WIDTH, NAMES).vectors([german], CPU).any()
    none = Introduction(WIDTH, ())
    assert (list(none.parameters()), none.vectors([b"", b""], CPU).shape) == ([], (0, WIDTH))


def test_each_value_has_a_direction_of_its_own_and_a_list_those_of_all() -> None:
    def code(**attributes: str | tuple[str, ...]) -> np.ndarray:
        return codes_of(stored_attributes(dict(attributes)), NAMES)

    german, french = code(country="DE"), code(country="FR")
    assert np.linalg.norm(german) == pytest.approx(1) and not german[CODE_WIDTH:].any()
    assert abs(german @ french) < 0.5
    assert (code(country="DE", tags="a")[:CODE_WIDTH] == german[:CODE_WIDTH]).all()
    assert (code(tags=("a", "b")) == code(tags=("b", "a"))).all()
    assert not code(plan="gold").any() and not code(tags=()).any()


def test_what_was_learned_of_a_value_is_said_of_all_who_have_it() -> None:
    introduction = Introduction(WIDTH, NAMES)
    optimizer = torch.optim.SGD(introduction.parameters(), lr=0.1)
    german, french = stored_attributes({"country": "DE"}), stored_attributes({"country": "FR"})
    wanted = torch.eye(WIDTH)[:2]
    for _ in range(200):
        optimizer.zero_grad()
        ((introduction.vectors([german, french], CPU) - wanted) ** 2).sum().backward()
        optimizer.step()
    both = stored_attributes({"country": "DE", "age": "20-29"})
    torch.testing.assert_close(introduction.vectors([both], CPU)[0], wanted[0], atol=0.05, rtol=0)
    assert introduction.figures()["user's country"].length > 0
    assert not introduction.vectors([b"", german], CPU)[0].any()
