"""What vectors add to items: nothing at birth, and what the folded query says it adds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.model.fusion import RELATED, SHARE_SPEED, Fusion, GatedMap, Smoothing

WIDTH, RANK = 7, 3
Widths = st.dictionaries(st.sampled_from(["image", "sound", "values", "keys"]), st.integers(1, 9), min_size=1)


def moved(fusion: Fusion) -> Fusion:
    """Give all parameters other values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)
    return fusion


def some(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@given(Widths)
def test_a_new_one_adds_nothing_and_says_so(widths: dict[str, int]) -> None:
    fusion, columns = Fusion(WIDTH, RANK, widths), sum(widths.values())
    assert not fusion(some(4, columns)).any()
    assert not fusion.folded(some(4, WIDTH)).any()
    assert {name: tuple(found) for name, found in fusion.figures().items()} == dict.fromkeys(widths, (1, 0))


@given(Widths)
def test_users_meet_vectors_alike_whether_these_are_mapped_or_the_users(widths: dict[str, int]) -> None:
    fusion, columns = moved(Fusion(WIDTH, RANK, widths)), sum(widths.values())
    vectors, users = some(5, columns), some(4, WIDTH, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(users @ fusion(vectors).T, fusion.folded(users) @ vectors.T)


def test_each_modality_has_a_map_of_its_own_and_a_missing_vector_adds_nothing() -> None:
    fusion, vectors = moved(Fusion(WIDTH, RANK, {"image": 4, "sound": 2})), some(3, 6)
    alone = [vectors.clone(), vectors.clone()]
    alone[0][:, 4:], alone[1][:, :4] = 0, 0
    with torch.no_grad():
        torch.testing.assert_close(fusion(vectors), fusion(alone[0]) + fusion(alone[1]))
        assert not fusion(torch.zeros(3, 6)).any()
        assert fusion(alone[0]).any(), "the image says something"


def test_the_length_is_that_of_what_is_added_for_a_vector_of_length_one() -> None:
    fusion = moved(Fusion(WIDTH, RANK, {"image": 4}))
    with torch.no_grad():
        added = fusion(torch.nn.functional.normalize(some(20_000, 4), dim=1))
    assert fusion.figures()["image"].length == pytest.approx(
        float(added.square().sum(dim=1).mean().sqrt()), rel=0.02
    )


def test_a_gate_can_be_shut_and_opened_to_twice() -> None:
    fusion, vectors = moved(Fusion(WIDTH, RANK, {"image": 4})), some(3, 4)
    opening = fusion.maps["of_image"].get_parameter("opening")
    with torch.no_grad():
        added = fusion(vectors) / fusion.figures()["image"].gate
        opening.fill_(-1)
        assert fusion.figures()["image"].gate == pytest.approx(0)
        assert not fusion(vectors).round(decimals=6).any()
        opening.fill_(1)
        torch.testing.assert_close(fusion(vectors), 2 * added)


def test_related_texts_come_last_and_are_added_as_they_are_by_a_share() -> None:
    fusion = Fusion(WIDTH, RANK, {"image": 4}, smooths=True)
    vectors, users = some(5, 4 + WIDTH), some(3, WIDTH, seed=1)
    assert not fusion(vectors).any() and not fusion.folded(users).any()
    smoothing = fusion.maps[f"of_{RELATED}"]
    assert isinstance(smoothing, Smoothing)
    with torch.no_grad():
        smoothing.part.fill_(0.5 / SHARE_SPEED)
        torch.testing.assert_close(fusion(vectors), 0.5 * vectors[:, 4:])
        moved(fusion)
        torch.testing.assert_close(users @ fusion(vectors).T, fusion.folded(users) @ vectors.T)
        related = torch.nn.functional.normalize(some(20_000, WIDTH), dim=1)
        added = fusion(torch.cat([torch.zeros(20_000, 4), related], dim=1))
    expected = float(added.square().sum(dim=1).mean().sqrt())
    assert fusion.figures()[RELATED].length == pytest.approx(expected, rel=0.02)


def skewed(rows: int, columns: int) -> Tensor:
    """Vectors of length 1 that have most in common, and differ in some directions far more than in others."""
    spread = some(rows, columns) * torch.logspace(0, -2, columns)
    return torch.nn.functional.normalize(3 * torch.ones(columns) + spread, dim=1)


def evenness(drawn: GatedMap, vectors: Tensor) -> float:
    """How near the second largest variance of what a map reads is to the largest."""
    with torch.no_grad():
        heard = torch.linalg.eigvalsh(torch.cov((vectors @ drawn.narrow.T).T))
    return float(heard[-2] / heard[-1])


def test_a_map_drawn_from_vectors_hears_their_directions_alike() -> None:
    vectors, maps = skewed(2_000, 8), [GatedMap(WIDTH, 8, 8) for _ in range(50)]
    assert sum(evenness(drawn, vectors) for drawn in maps) / len(maps) < 0.5, "one in eight is even by chance"
    for drawn in maps:
        drawn.spread(vectors)
        assert evenness(drawn, vectors) > 0.7
    with torch.no_grad():
        assert (vectors @ maps[0].narrow.T).square().sum(dim=1).mean().item() == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("rank", [3, 8, 12])
def test_what_was_learned_stays_when_a_map_is_drawn_again(rank: int) -> None:
    learned, vectors = GatedMap(WIDTH, rank, 8), skewed(500, 8)
    learned.spread(vectors)
    with torch.no_grad():
        learned.wide.copy_(some(WIDTH, rank))
        before = learned(vectors)
        learned.spread(skewed(700, 8).flip(0))
        torch.testing.assert_close(learned(vectors), before, atol=0.02 if rank < 8 else 1e-4, rtol=0.02)
        assert learned.wide.any()


@pytest.mark.parametrize("vectors", [torch.zeros(70, 5), torch.ones(70, 5), some(1, 5).expand(70, 5)])
def test_a_map_is_not_drawn_from_vectors_that_are_all_the_same(vectors: Tensor) -> None:
    drawn = GatedMap(WIDTH, RANK, 5)
    before = drawn.narrow.clone()
    drawn.spread(vectors)
    assert torch.equal(drawn.narrow, before)


@pytest.mark.parametrize("columns", [1, 2, 40])
def test_a_map_is_drawn_from_fewer_vectors_than_directions(columns: int) -> None:
    drawn = GatedMap(WIDTH, RANK, columns)
    drawn.spread(some(6, columns))
    assert drawn.narrow.isfinite().all()
    assert drawn.narrow.any()


def test_smoothing_keeps_its_share_when_its_map_is_drawn() -> None:
    fusion = moved(Fusion(WIDTH, 8, {"image": 4}, smooths=True))
    vectors = skewed(100, 4 + WIDTH)
    with torch.no_grad():
        before = fusion(vectors)
        fusion.spread(1, vectors)
        torch.testing.assert_close(fusion(vectors), before, atol=1e-3, rtol=1e-3)
