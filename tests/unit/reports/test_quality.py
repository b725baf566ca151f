"""Tables of prequential quality: a row for each scorer and slice that had targets, its best marked."""

from __future__ import annotations

from pipeline.evaluation.prequential import Report
from pipeline.reports.quality import quality_rows, slices_with_targets

NOTHING: dict[str, float | None] = {
    "n": 0.0,
    "hr@20": None,
    "mrr@20": None,
    "ndcg@20": None,
    "log_loss": None,
}
GOOD: dict[str, float | None] = {"n": 2.0, "hr@20": 0.5, "mrr@20": 0.25, "ndcg@20": 0.3, "log_loss": 5.0}
BAD: dict[str, float | None] = {"n": 2.0, "hr@20": 0.0, "mrr@20": 0.0, "ndcg@20": 0.0, "log_loss": 9.0}
QUALITY: Report = {
    "model": {"all": BAD, "first_of_user": NOTHING},
    "mixture": {"all": GOOD, "first_of_user": NOTHING, "audited": GOOD},
    "full_ranking": {"audited": GOOD},
}


def test_slices_without_targets_are_left_out() -> None:
    assert slices_with_targets(QUALITY) == ["all", "audited"]
    assert [(row.slice, row.scorer, row.n) for row in quality_rows(QUALITY)] == [
        ("all", "model", "2"),
        ("all", "mixture", "2"),
        ("audited", "mixture", "2"),
        ("audited", "full_ranking", "2"),
    ]


def test_the_best_figures_of_a_slice_are_marked() -> None:
    bad, good, *_ = quality_rows(QUALITY)
    assert [cell.is_best for cell in bad.cells] == [False] * 4
    assert [(cell.text, cell.is_best) for cell in good.cells] == [
        ("0.5000", True),
        ("0.2500", True),
        ("0.3000", True),
        ("5.0000", True),
    ]
