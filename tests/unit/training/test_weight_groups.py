"""The list of weights counts each weight once, as learned or as frozen."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from pipeline.config import ModelSizes, Tuning
from pipeline.model.backbone import Backbone
from pipeline.model.recommender import Recommender
from pipeline.training.weight_groups import GROUPS, weight_groups


@pytest.mark.parametrize("kind", get_args(Tuning))
def test_every_weight_is_in_one_group(backbone: Backbone, kind: Tuning) -> None:
    sizes = ModelSizes(
        tuning=kind,
        vectors={"photo": 8},
        attributes=("colour",),
        relations=("goes_with",),
        user_attributes=("country",),
    )
    recommender = Recommender(backbone, sizes, seed=0)
    said = weight_groups(recommender, backbone.model)
    assert said.startswith(f"by gradient learn ({kind}): ")
    learned, frozen = (numbers(part) for part in said.split("; frozen are: "))
    assert sum(learned.values()) == sum(part.numel() for part in recommender.learned().values())
    assert learned.keys() == set(GROUPS.values())
    assert frozen.pop("encoder of texts") == sum(part.numel() for part in backbone.model.parameters())
    everything = sum(part.numel() for part in recommender.parameters())
    assert sum(learned.values()) + sum(frozen.values()) == everything


def numbers(part: str) -> dict[str, int]:
    """The groups that a part of the list names, with their numbers."""
    found = re.findall(r"(?:^|[:,;] )([a-z ,]+?) ([\d,]*\d)(?=, |$)", part)
    return {group: int(count.replace(",", "")) for group, count in found}
