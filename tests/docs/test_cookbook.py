"""The cookbook's mappings read the data of their trades, leave out only what they say, and lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.cookbook import make
from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.inspection import inspect
from pipeline.datasets.mapping import load_mapping
from pipeline.events import Interaction, InteractionType, Item
from tests.support.documents import DOCS, ROOT

RECIPES = ROOT / "examples" / "cookbook"
LEFT_OUT = {"video": {"a pause"}, "ads": {"shown and not clicked"}, "finance": {"a sale"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cookbook")
    make.main(str(folder))
    return folder


def opened(data: Path, trade: str) -> tuple[Dataset, list[Item], list[Interaction]]:
    dataset = open_dataset(str(data / trade), mapping=RECIPES / f"{trade}.toml")
    events = list(dataset.events())
    acts = [event for event in events if isinstance(event, Interaction)]
    return dataset, [event for event in events if isinstance(event, Item)], acts


@pytest.mark.parametrize("trade", make.TRADES)
def test_a_recipe_reads_its_data(data: Path, trade: str) -> None:
    dataset, items, acts = opened(data, trade)
    assert dataset.name == f"cookbook-{trade}"
    assert len(acts) > 150
    assert {act.item for act in acts} <= {item.item for item in items}
    assert all(item.title != item.item for item in items)
    assert set(dataset.drops.counts) == LEFT_OUT.get(trade, set())
    start, minute = make.START.timestamp() * 1000, 60_000  # trades are written in whole minutes
    assert start - minute <= acts[0].time <= acts[-1].time <= start + make.DAYS * 24 * 60 * minute


@pytest.mark.parametrize("trade", make.TRADES)
def test_nothing_of_a_recipe_looks_wrong(data: Path, trade: str) -> None:
    found = inspect(data / trade, now=1_790_000_000_000, given=load_mapping(RECIPES / f"{trade}.toml"))
    assert (found.questions, found.warnings) == ([], [])


def test_the_data_are_the_same_every_time(data: Path, tmp_path: Path) -> None:
    make.main(str(tmp_path))
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(data)).read_bytes(), path.name


def test_what_the_recipes_are_to_show(data: Path) -> None:
    sold_out, *others = opened(data, "shop")[1]
    assert (sold_out.available, sold_out.title, sold_out.attributes) == (False, "Weiße Tasse", {"price": 5.0})
    assert all(item.available for item in others)
    views = [act.value for act in opened(data, "video")[2] if act.type is InteractionType.VIEW]
    assert all(value is not None and 0 < value < 120 for value in views)
    assert all(item.published and item.expires for item in opened(data, "news")[1])
    assert InteractionType.DISLIKE in {act.type for act in opened(data, "social")[2]}
    executed = opened(data, "finance")[2][0]
    assert (executed.time // 60_000 * 60_000, executed.event_id[0]) == (executed.time, "T")


def test_the_page_names_every_recipe() -> None:
    page = (DOCS / "cookbook.md").read_text()
    assert {path.stem for path in RECIPES.glob("*.toml")} == set(make.TRADES)
    assert all(f"| `{trade}` |" in page for trade in make.TRADES)
