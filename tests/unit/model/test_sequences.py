"""Segments share rows without overlap, and every act is where the pack says it is."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.sequences import Packed, pack
from pipeline.state.segments import Segment
from tests.support.build import segment

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def packed(told: list[Segment]) -> Packed:
    return pack(told, torch.device("cpu"))


def numbered(told: list[int]) -> list[Segment]:
    """Segments of the given lengths, each act with an item of its own."""
    items = iter(range(1, sum(told) + 1))
    return [segment([next(items) for _ in range(length)]) for length in told]


@given(lengths)
def test_every_act_has_a_place_of_its_own(told: list[int]) -> None:
    made = packed(numbered(told))
    indices = made.indices.tolist()
    assert len(set(indices)) == len(indices) == sum(told)
    assert made.items.flatten()[made.indices].tolist() == list(range(1, sum(told) + 1))
    assert made.items.count_nonzero() == sum(told)


@given(lengths)
def test_a_segment_lies_in_one_row_in_order(told: list[int]) -> None:
    made = packed(numbered(told))
    width = made.items.shape[1]
    assert width >= max(told)
    for indices in torch.split(made.indices, told):
        assert indices.tolist() == list(range(int(indices[0]), int(indices[0]) + len(indices)))
        assert indices[0] // width == indices[-1] // width
        assert made.positions.flatten()[indices].tolist() == list(range(len(indices)))


@given(lengths)
def test_an_act_sees_its_own_segments_past_and_nothing_else(told: list[int]) -> None:
    made = packed(numbered(told))
    width = made.items.shape[1]
    for indices in torch.split(made.indices, told):
        row = int(indices[0]) // width
        columns = (indices % width).tolist()
        for number, column in enumerate(columns):
            seen = made.mask[row, 0, column].nonzero().flatten().tolist()
            assert seen == columns[: number + 1]


@given(lengths)
def test_every_place_sees_something(told: list[int]) -> None:
    """Padding too: a softmax over nothing is not a number."""
    assert packed(numbered(told)).mask.any(dim=-1).all()


@given(lengths)
def test_rows_are_not_wasted(told: list[int]) -> None:
    """First fit leaves at most one row less than half full."""
    made = packed(numbered(told))
    filled = (made.items > 0).sum(dim=1) * 2
    assert ((filled > 0) & (filled < made.items.shape[1])).sum() <= 1


def test_few_shapes_cover_many_packs() -> None:
    """A new shape costs: oneDNN makes its kernels anew."""
    shapes = {packed(numbered([length] * 60)).items.shape for length in range(1, 65)}
    rows = {packed(numbered([9] * amount)).items.shape[0] for amount in range(1, 65)}
    assert {width for _, width in shapes} == {1, 2, 4, 8, 16, 32, 64}
    assert len(rows) <= 32


def test_a_single_short_row_is_no_wider_than_it_must_be() -> None:
    assert packed(numbered([20])).items.shape == (1, 20)
    assert packed(numbered([2, 1])).items.shape == (2, 2)
