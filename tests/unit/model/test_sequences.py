"""Segments share rows without overlap, and every act is at its index."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.sequences import Packed, pack
from pipeline.state.segments import Segment
from tests.support.build import segment

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def packed(segments: list[Segment]) -> Packed:
    return pack(segments, torch.device("cpu"))


def numbered(sizes: list[int]) -> list[Segment]:
    """Segments of the given lengths, each act with an item of its own."""
    items = iter(range(1, sum(sizes) + 1))
    return [segment([next(items) for _ in range(length)]) for length in sizes]


@given(lengths)
def test_every_act_has_its_own_index(sizes: list[int]) -> None:
    made = packed(numbered(sizes))
    indices = made.indices.tolist()
    assert len(set(indices)) == len(indices) == sum(sizes)
    assert made.items.flatten()[made.indices].tolist() == list(range(1, sum(sizes) + 1))
    assert made.items.count_nonzero() == sum(sizes)


@given(lengths)
def test_a_segment_lies_in_one_row_in_order(sizes: list[int]) -> None:
    made = packed(numbered(sizes))
    width = made.items.shape[1]
    assert width >= max(sizes)
    for indices in torch.split(made.indices, sizes):
        assert indices.tolist() == list(range(int(indices[0]), int(indices[0]) + len(indices)))
        assert indices[0] // width == indices[-1] // width
        assert made.positions.flatten()[indices].tolist() == list(range(len(indices)))


@given(lengths)
def test_an_act_attends_to_the_past_of_its_own_segment_only(sizes: list[int]) -> None:
    made = packed(numbered(sizes))
    width = made.items.shape[1]
    for indices in torch.split(made.indices, sizes):
        row = int(indices[0]) // width
        columns = (indices % width).tolist()
        for number, column in enumerate(columns):
            seen = made.mask[row, 0, column].nonzero().flatten().tolist()
            assert seen == columns[: number + 1]


@given(lengths)
def test_every_position_attends_to_something(sizes: list[int]) -> None:
    """Padding too: a softmax over an empty set is NaN."""
    assert packed(numbered(sizes)).mask.any(dim=-1).all()


@given(lengths)
def test_rows_are_not_wasted(sizes: list[int]) -> None:
    """First fit leaves at most one row less than half full."""
    made = packed(numbered(sizes))
    filled = (made.items > 0).sum(dim=1) * 2
    assert ((filled > 0) & (filled < made.items.shape[1])).sum() <= 1


def test_few_shapes_cover_many_packs() -> None:
    """Each new shape costs time: oneDNN generates new kernels for it."""
    shapes = {packed(numbered([length] * 60)).items.shape for length in range(1, 65)}
    rows = {packed(numbered([9] * count)).items.shape[0] for count in range(1, 65)}
    assert {width for _, width in shapes} == {1, 2, 4, 8, 16, 32, 64}
    assert len(rows) <= 32


def test_a_single_short_row_is_no_wider_than_it_must_be() -> None:
    assert packed(numbered([20])).items.shape == (1, 20)
    assert packed(numbered([2, 1])).items.shape == (2, 2)
