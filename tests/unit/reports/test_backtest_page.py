"""The page of a backtest: whole, without a network, readable without its plots, and safe with any name."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pipeline.evaluation.lists import Figures
from pipeline.evaluation.prequential import SCORERS
from pipeline.evaluation.ratings import RatingReport
from pipeline.evaluation.regret import LESS_IS_BETTER
from pipeline.evaluation.timeline import Timeline
from pipeline.model.fusion import ModalityFigures
from pipeline.reports.backtest_page import FOLDER, backtest_page
from pipeline.reports.lists import MEANINGS
from pipeline.training.backtest import BacktestReport
from tests.support.documents import ROOT
from tests.support.scores import scores

PLOTS = 3 + len(LESS_IS_BETTER) + len(MEANINGS) + 1
LINKS = {"src", "href", "srcset", "action", "data", "poster", "background"}


class Page(HTMLParser):
    """Elements of a page, its texts, and for each table the cells of its rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)
        match tag:
            case "table":
                self.tables.append([])
            case "tr":
                self.tables[-1].append([])
            case "th" | "td":
                self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements are closed in order"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("th", "td", "strong"):
            self.tables[-1][-1][-1] += data
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(name: str = "sales") -> BacktestReport:
    timeline = Timeline()
    for rank, mixed in ((3, 5), (3, 4), (3, 1)):
        timeline.add(scores(rank, mixed), 10, 0.5, {"gini@20": rank / 10})
    groups = {"cups": {"shown": 0.75, "acted_on": 0.5}}
    quality, lists = timeline.total().quality.report(), Figures({"n": 5.0, "gini@20": 0.5})
    return BacktestReport(name, 30, 1.5, quality, timeline, lists=lists, groups=groups)


def page(made: BacktestReport, settings: str = "[learn]\nseed = 7\n") -> Page:
    return Page(backtest_page(made, {"command": "millstream backtest sales.csv", "seed": "7"}, settings))


def test_nothing_is_fetched() -> None:
    found = page(report())
    assert not [attributes for _, attributes in found.elements if LINKS & set(attributes)]
    (policy,) = [one["content"] for one in found.all("meta") if one.get("http-equiv")]
    assert policy and policy.startswith("default-src 'none';")
    assert not re.search(r"@import|url\(", (FOLDER / "page.css").read_text())


def test_each_plot_has_a_title_a_description_and_a_table_with_its_numbers() -> None:
    found = page(report())
    plots = [one for one in found.all("div") if one.get("class") == "plot"]
    assert len(plots) == len(found.all("figure")) == len(found.all("figcaption")) == PLOTS
    assert all(one["role"] == "img" and one["aria-label"] for one in plots)
    assert plots[2]["aria-label"] == (
        "log-loss, in nats: model from 3.0000 to 3.0000; covisitation from 3.0000 to 3.0000; "
        "popularity from 3.0000 to 3.0000; mixture from 5.0000 to 1.0000"
    )
    _, lists, groups, hits, _, losses, *others, speed, _ = found.tables
    lost, unequal = others[2], others[3 + list(MEANINGS).index("gini@20")]
    assert losses == [
        ["interactions", *SCORERS],
        ["10", "3.0000", "3.0000", "3.0000", "5.0000"],
        ["20", "3.0000", "3.0000", "3.0000", "4.0000"],
        ["30", "3.0000", "3.0000", "3.0000", "1.0000"],
    ]
    assert hits[1] == ["10", "1.0000", "1.0000", "1.0000", "1.0000"]
    assert lost == [["interactions", "all"], ["10", "2.00"], ["20", "3.00"], ["30", "1.00"]]
    assert unequal[1:] == [["10", "0.3000"], ["20", "0.3000"], ["30", "0.3000"]]
    assert ["gini@20", "0.5000", MEANINGS["gini@20"]] in lists
    assert groups == [["group", "shown", "acted on"], ["cups", "0.7500", "0.5000"]]
    assert speed[1:] == [["10", "20.0"], ["20", "20.0"], ["30", "20.0"]]


def test_it_says_what_was_run_with_which_settings_and_figures() -> None:
    found = page(report())
    text = "".join(found.text)
    for said in ("millstream backtest sales.csv", "seed = 7", "30 interactions in 1.5 s, 20 a second"):
        assert said in text
    assert ["all", "mixture", "3", "1.0000", "0.4833", "0.6058", "3.3333"] in found.tables[0]
    assert found.tables[-1] == [["command", "millstream backtest sales.csv"], ["seed", "7"]]


def test_it_has_every_table_that_the_command_prints() -> None:
    ratings = {"all": RatingReport(3.0, 0.75, 1.0), "first of a user": RatingReport(0.0, None, None)}
    modalities = {"image": ModalityFigures(0.5, 0.25)}
    found = page(replace(report(), ratings=ratings, modalities=modalities))
    assert [
        ["rating", "n", "MAE", "RMSE"],
        ["all", "3", "0.7500", "1.0000"],
        ["first of a user", "0", "–", "–"],
    ] in found.tables
    assert [["modality", "gate", "length"], ["image", "0.500", "0.250"]] in found.tables


def test_names_are_text_whatever_they_are() -> None:
    evil = "<script>alert(1)</script>"
    found = page(report(evil), settings=f'[model]\nbackbone = "{evil}"\n')
    assert len(found.all("script")) == 2
    assert evil in "".join(found.text)


def test_a_run_without_figures_has_a_page_too() -> None:
    empty = page(replace(report(), events=0, seconds=0.0, quality={}, timeline=Timeline()))
    assert len(empty.all("figure")) == PLOTS - 3


@pytest.mark.skipif(shutil.which("node") is None, reason="Node runs the page's scripts")
def test_the_scripts_draw_what_the_tables_say() -> None:
    """Node has no browser: `draw_page.js` has as much of one as the scripts use."""
    command = ["node", str(ROOT / "tests" / "support" / "draw_page.js")]
    html = backtest_page(report(), {}, "")
    drawn = subprocess.run(command, input=html, capture_output=True, text=True, check=False)
    assert drawn.returncode == 0, drawn.stderr[-500:]
    plots = drawn.stdout.splitlines()
    assert len(plots) == PLOTS
    assert plots[2] == "[[10,20,30],[3,3,3],[3,3,3],[3,3,3],[5,4,1]]"
