"""Codes of attributes: the same for the same values, nearly at right angles for others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.config import CODE_WIDTH
from pipeline.events import Scalar
from pipeline.model.content.codes import code_of


def cosine(one: tuple[str, Sequence[Scalar]], other: tuple[str, Sequence[Scalar]]) -> float:
    left, right = code_of(*one), code_of(*other)
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def test_a_code_is_the_same_everywhere() -> None:
    assert code_of("brand", ["Ember"]).shape == (CODE_WIDTH,)
    assert code_of("brand", ["Ember"])[:12].tolist() == [1, 1, -1, -1, 1, 1, 1, -1, 1, 1, 1, 1]


def test_other_values_types_and_attributes_have_other_codes() -> None:
    ember = ("brand", ["Ember"])
    assert cosine(ember, ember) == pytest.approx(1)
    cosines = np.array([cosine(ember, ("brand", [f"brand {n}"])) for n in range(200)])
    assert np.abs(cosines).max() < 0.5 and np.abs(cosines.mean()) < 0.05
    assert cosine(ember, ("maker", ["Ember"])) < 0.5
    assert cosine(("size", ["1"]), ("size", [1])) < 0.5 and cosine(("new", [True]), ("new", [1])) < 0.5


def test_lists_that_share_a_value_are_alike() -> None:
    tree = ("category", ["home", "home/kitchen", "home/kitchen/mugs"])
    near = ("category", ["home", "home/kitchen", "home/kitchen/plates"])
    far = ("category", ["home", "home/garden", "home/garden/hoses"])
    assert 1 > cosine(tree, near) > cosine(tree, far) > cosine(tree, ("category", ["music"]))
