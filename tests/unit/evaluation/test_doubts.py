"""Doubts about a backtest's data."""

from __future__ import annotations

from pipeline.evaluation.doubts import CappedActs, no_lists, small_catalogue


def capped(*batches: tuple[int, int]) -> str | None:
    counts = CappedActs()
    for acts, reduced in batches:
        counts.add(acts, reduced)
    return counts.warning()


def test_caps_that_cut_much_are_said_and_how_to_raise_them() -> None:
    said = capped((256, 1), (256, 200))
    assert said is not None and "201 of 512 acts count less" in said and "raise signals.item_cap" in said


def test_caps_that_cut_the_acts_of_few_are_as_they_should_be() -> None:
    assert capped((256, 0), (256, 51)) is None
    assert capped((60, 60)) is None, "so few acts say nothing"


def test_a_list_that_has_all_items_hits_always() -> None:
    said = small_catalogue(20)
    assert said is not None and "all the items that are known, 20, so that every hr@20 is 1" in said
    assert small_catalogue(21) is None


def test_figures_of_lists_that_are_missing_are_explained() -> None:
    said = no_lists({"n": 0}, 2_000, 8)
    assert said is not None and "they are of one user in 8" in said
    assert no_lists({"n": 3}, 2_000, 8) is None
    assert no_lists({"n": 0}, 60, 8) is None, "so few acts say nothing"
