"""Vectors of fewer bits: how far they may be off, and what they must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pipeline.model.encoded_vectors import LARGEST_CODE, EncodedVectors, int8_codes

NUMBERS = st.floats(-1e6, 1e6, width=32)
MATRICES = array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: arrays(np.float32, shape, elements=NUMBERS)
)


def decoded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    codes, scales = int8_codes(vectors)
    found: NDArray[np.float32] = (
        EncodedVectors(torch.from_numpy(codes), torch.from_numpy(scales)).float().numpy()
    )
    return found


@given(MATRICES)
def test_no_number_is_off_by_more_than_half_a_step_of_its_row(vectors: NDArray[np.float32]) -> None:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    steps = largest.astype(np.float64) / LARGEST_CODE
    rounding = 1e-6 * largest + np.finfo(np.float32).tiny
    assert (np.abs(decoded(vectors) - vectors) <= steps / 2 + rounding).all()


@given(MATRICES)
def test_a_row_depends_on_itself_alone_and_zeros_stay(vectors: NDArray[np.float32]) -> None:
    codes, scales = int8_codes(vectors)
    for row, vector in enumerate(vectors):
        own = int8_codes(vector[None])
        assert np.array_equal(own[0][0], codes[row]) and own[1][0] == scales[row]
    assert not decoded(np.zeros_like(vectors)).any()
    assert not decoded(vectors)[vectors == 0].any()
    assert np.abs(codes.astype(int)).max(initial=0) <= LARGEST_CODE, "-128 has no counterpart"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_the_scale_of_its_row_alone(value: float) -> None:
    vectors = np.ones((3, 4), dtype=np.float32)
    vectors[1, 2] = value
    codes, scales = int8_codes(vectors)
    assert np.isfinite(scales).tolist() == [True, False, True]
    assert not codes[1].any()


def test_rows_are_gathered_as_numbers() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    codes, scales = map(torch.from_numpy, int8_codes(vectors))
    at_slots = torch.tensor([0, 3, 3, 1, 4], dtype=torch.int32)
    for encoded in (
        EncodedVectors(codes, scales),
        EncodedVectors(torch.from_numpy(vectors).half()),
        EncodedVectors(codes, scales, at_slots),
        EncodedVectors(torch.from_numpy(vectors), slots=at_slots),
    ):
        whole = encoded.float()
        assert (len(encoded), encoded.shape, whole.dtype) == (5, (5, 4), torch.float32)
        rows = torch.tensor([[4, 0], [2, 2]])
        assert torch.equal(encoded[rows], whole[rows])
        assert torch.equal(encoded.index_select(0, rows[0]), whole[rows[0]])
        assert encoded[rows[:0]].shape == (0, 2, 4)
    assert torch.equal(encoded.float(), torch.from_numpy(vectors[at_slots]))
