"""Regret, computed by hand: the mixture against the best of its parts."""

from __future__ import annotations

import pytest

from pipeline.evaluation.prequential import FULL_RANKING, Report
from pipeline.evaluation.regret import regret


def figures(log_loss: float, hits: float, n: float = 10) -> dict[str, float | None]:
    return {"n": n, "hr@20": hits, "mrr@20": hits / 2, "ndcg@20": hits, "log_loss": log_loss}


def quality(**by_scorer: dict[str, float | None]) -> Report:
    return {scorer: {"all": found} for scorer, found in by_scorer.items()}


def test_the_best_part_is_chosen_for_each_figure() -> None:
    found = regret(
        quality(model=figures(5.0, 0.2), covisitation=figures(6.0, 0.5), mixture=figures(5.5, 0.3))
    )["all"]
    assert (found["log_loss"].best, found["hr@20"].best) == ("model", "covisitation")
    assert found["log_loss"].value == pytest.approx(0.5)
    assert found["hr@20"].value == pytest.approx(0.2)
    assert found["mrr@20"].value == pytest.approx(0.1)


def test_a_mixture_that_is_better_than_its_parts_has_less_than_no_regret() -> None:
    found = regret(quality(model=figures(5.0, 0.2), mixture=figures(4.0, 0.3)))["all"]
    assert found["log_loss"].value == pytest.approx(-1)
    assert found["hr@20"].value == pytest.approx(-0.1)


def test_a_full_ranking_is_no_part() -> None:
    whole = quality(model=figures(5.0, 0.2), mixture=figures(4.0, 0.3))
    assert regret({**whole, FULL_RANKING: {"all": figures(1.0, 0.9)}}) == regret(whole)


@pytest.mark.parametrize(
    "empty",
    [
        {},
        quality(mixture=figures(1.0, 1.0)),
        quality(model=figures(5.0, 0.2, n=0), mixture=figures(4.0, 0.3, n=0)),
    ],
)
def test_where_nothing_can_be_compared_there_is_no_regret(empty: Report) -> None:
    assert regret(empty) == {}
