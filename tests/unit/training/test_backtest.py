"""The backtest runs a data set through the learner and reports reproducible figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import StringIO

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.assembly import make_learner
from pipeline.config import Settings
from pipeline.datasets import Drops, Shop, ShopSettings
from pipeline.evaluation.prequential import SCORERS, SLICES
from pipeline.evaluation.regret import regret
from pipeline.events import Interaction, InteractionType, Item
from pipeline.reports.lists import list_rows
from pipeline.reports.quality import quality_table, regret_table
from pipeline.training import sampled_lists
from pipeline.training.backtest import BacktestReport, backtest, micro_batches
from tests.support.build import purchase

KEYS = ["dataset", "events", "seconds", "events_per_second"]
KEYS += ["quality", "regret", "windows", "lists", "groups", "decisions", "ratings"]
KEYS += ["modalities", "warnings"]
FIGURES = {"n", "hr@20", "mrr@20", "ndcg@20", "log_loss"}
SHOP = Shop(ShopSettings(seed=3, events=120, users=10, items=90, arrivals=5, arrival_every=20))


def report_of(settings: Settings, limit: int | None = None, seed: int = 0) -> BacktestReport:
    learn = settings.learn.model_copy(update={"seed": seed})
    return backtest(
        make_learner(settings.model_copy(update={"learn": learn})), SHOP, limit, 16, lambda events: None
    )


def test_the_report_has_the_figures_of_each_scorer_and_slice(settings: Settings) -> None:
    report = report_of(settings).to_json()
    assert list(report) == KEYS
    assert (report["dataset"], report["events"]) == ("shop", 120)
    quality = orjson.loads(orjson.dumps(report))["quality"]
    assert set(quality) == set(SCORERS)
    for by_slice in quality.values():
        assert set(by_slice) == set(SLICES)
        for figures in by_slice.values():
            assert set(figures) == FIGURES
            assert isinstance(figures["n"], int)
            if figures["n"]:
                assert 0 <= figures["mrr@20"] <= figures["ndcg@20"] <= figures["hr@20"] <= 1
    assert quality["mixture"]["all"]["n"] > quality["mixture"]["cold"]["n"] > 0


def test_ratings_of_the_data_are_predicted(settings: Settings) -> None:
    rated: list[Item | Interaction] = [
        purchase(f"u{n % 5}", str(n % 7), n).model_copy(update={"type": InteractionType.RATING, "value": 4.0})
        for n in range(60)
    ]
    report = backtest(make_learner(settings), Recorded(rated), None, 16, lambda events: None)
    found = orjson.loads(orjson.dumps(report.to_json()))["ratings"]
    assert (found["all"]["n"], found["first of a user"]["n"]) == (60, 5)
    assert 0 < found["all"]["mae"] <= found["all"]["rmse"] < found["first of a user"]["mae"]
    assert report_of(settings).ratings == {}


def test_an_id_for_everybody_is_a_warning(settings: Settings) -> None:
    users = ["nobody"] * 101 + [f"u{n}" for n in range(20)] * 10
    acts: list[Item | Interaction] = [purchase(user, str(n % 7), n) for n, user in enumerate(users)]
    warnings = backtest(make_learner(settings), Recorded(acts), None, 64, lambda events: None).warnings
    (said,) = [one for one in warnings if "an id for everybody" in one]
    assert "1 user did 101 of 301 acts" in said and "nobody" not in said


def test_the_same_seed_gives_the_same_figures(settings: Settings) -> None:
    first, second, other = report_of(settings), report_of(settings), report_of(settings, seed=1)
    assert first.quality == second.quality
    assert first.quality["model"] != other.quality["model"]
    assert first.quality["popularity"] == other.quality["popularity"]


@pytest.mark.parametrize("limit", [1, 16, 50])
def test_no_more_than_the_limit_is_learned(settings: Settings, limit: int) -> None:
    progress: list[int] = []
    learner = make_learner(settings)
    report = backtest(learner, SHOP, limit, 16, progress.append)
    assert report.events == learner.stream.events == sum(progress) == limit
    assert max(progress) <= 16


def test_the_windows_are_parts_of_the_run(settings: Settings) -> None:
    report = report_of(settings)
    windows = orjson.loads(orjson.dumps(report.to_json()))["windows"]
    assert [window["until"] for window in windows] == [16, 32, 48, 64, 80, 96, 112, 120]
    assert sum(window["seconds"] for window in windows) == pytest.approx(report.seconds, abs=0.01)
    targets = [window["quality"]["mixture"]["all"]["n"] for window in windows]
    assert sum(targets) == report.quality["mixture"]["all"]["n"]
    lost = regret(report.quality)["all"]["log_loss"].value * sum(targets)
    assert windows[-1]["total_regret"]["all"]["log_loss"] == pytest.approx(lost)


def test_lists_and_groups_are_described(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_lists, "ONE_IN", 1)
    report = backtest(make_learner(settings), SHOP, None, 16, lambda events: None, group="category")
    assert report.lists["n"]
    assert 0 < (report.lists["coverage@20"] or 0) <= 1
    assert sum(share["shown"] for share in report.groups.values()) == pytest.approx(1)
    assert sum(share["acted_on"] for share in report.groups.values()) == pytest.approx(1)
    assert len(report.groups) > 1
    assert report_of(settings).groups == {}, "without an attribute"
    assert not report.warnings
    (warning,) = backtest(
        make_learner(settings), SHOP, 40, 16, lambda events: None, group="categories"
    ).warnings
    assert "Did you mean 'category'?" in warning


def test_where_there_are_no_lists_the_json_has_no_figures_of_lists(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled_lists, "ONE_IN", 1_000_000)
    report = report_of(settings, limit=20)
    assert set(orjson.loads(orjson.dumps(report.to_json()))["lists"]) == {"n", "gini_of_acts"}
    cells = {name: value for name, value, _ in list_rows(report.lists)}
    assert cells["coverage@20"] == cells["gini@20"] == cells["jaccard@20"] == "–"


def test_speed_is_events_by_seconds() -> None:
    report = BacktestReport("shop", 300, 2.0, {})
    assert report.to_json()["events_per_second"] == 150
    assert replace(report, seconds=0.0).to_json()["events_per_second"] is None


kinds = st.lists(st.sampled_from(["item", "act"]), max_size=40)


@given(kinds=kinds, size=st.integers(1, 7))
def test_batches_hold_everything_in_order_the_catalogue_first(kinds: list[str], size: int) -> None:
    events: list[Item | Interaction] = [
        Item(item=str(n), title="") if kind == "item" else purchase("ann", str(n), n)
        for n, kind in enumerate(kinds)
    ]
    batches = list(micro_batches(events, size))
    assert [batch.step for batch in batches] == list(range(len(batches)))
    items = [item for batch in batches for item in batch.items]
    interactions = [event for batch in batches for event in batch.interactions]
    assert items == [event for event in events if isinstance(event, Item)]
    assert interactions == [event for event in events if isinstance(event, Interaction)]
    assert not batches[0].interactions
    opening = next((n for n, event in enumerate(events) if isinstance(event, Interaction)), len(events))
    assert len(batches[0].items) == opening
    assert all(len(batch.interactions) == size for batch in batches[1:-1])
    assert len(batches) == 1 or 1 <= len(batches[-1].interactions) <= size


@dataclass
class Recorded:
    """A data set that holds these events."""

    recorded: list[Item | Interaction]
    name: str = "recorded"
    digest: str = ""
    drops: Drops = field(default_factory=Drops)

    def events(self) -> Iterator[Item | Interaction]:
        yield from self.recorded


def test_a_data_set_without_a_catalogue_is_learned_too(settings: Settings) -> None:
    events: list[Item | Interaction] = [purchase("ann", f"item{n % 3}", n) for n in range(20)]
    learner = make_learner(settings)
    report = backtest(learner, Recorded(events), None, 8, lambda events: None)
    assert report.events == 20
    assert report.quality["mixture"]["all"]["n"] == 19


def test_an_empty_data_set_is_no_error(settings: Settings) -> None:
    learner = make_learner(settings)
    report = backtest(learner, Recorded([]), None, 8, lambda events: None)
    assert (report.events, report.quality) == (0, {})


def test_the_table_shows_every_figure_and_marks_the_best() -> None:
    figures: dict[str, float | None] = {
        "n": 7,
        "hr@20": 0.25,
        "mrr@20": 0.125,
        "ndcg@20": 0.5,
        "log_loss": 2.5,
    }
    better = {**figures, "hr@20": 0.75, "log_loss": 1.5}
    nothing: dict[str, float | None] = {name: None if name != "n" else 0 for name in figures}
    console = Console(width=120, record=True, file=StringIO(), force_terminal=True)
    console.print(
        quality_table(
            {"model": {"all": figures, "cold": nothing}, "covisitation": {"all": better, "cold": nothing}}
        )
    )
    text = console.export_text(clear=False)
    for shown in ("0.2500", "0.7500", "2.5000", "1.5000", "covisitation"):
        assert shown in text
    assert "cold" not in text, "nobody was a target there"
    assert "\x1b[1m0.7500" in console.export_text(styles=True)


def test_the_table_of_regret_names_the_best_part() -> None:
    figures: dict[str, float | None] = {"n": 4, "hr@20": 0.5, "mrr@20": 0.25, "log_loss": 2.0}
    worse = {**figures, "hr@20": 0.25, "log_loss": 2.5}
    console = Console(width=120, record=True, file=StringIO())
    console.print(regret_table({"model": {"all": figures}, "mixture": {"all": worse}}))
    (row,) = [line for line in console.export_text().splitlines() if " all " in line]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "all",
        "+0.5000 model",
        "+0.2500 model",
        "+0.0000 model",
    ]
