"""Known data sets are recognised by their files."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.presets import NAMES, preset, recognised
from pipeline.events import Interaction, Item

SHARED = Path(__file__).parents[3].parent / "shared/data"


def shared(name: str) -> str:
    folder = SHARED / name
    if not folder.exists() and os.environ.get("CI") != "true":
        pytest.skip(f"the data are not at {folder}")
    return str(folder)


def parts(dataset: Dataset) -> tuple[list[Item], list[Interaction]]:
    events = list(dataset.events())
    items = [event for event in events if isinstance(event, Item)]
    return items, [event for event in events if isinstance(event, Interaction)]


def test_movielens_is_read_by_time(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n1,"Toys, The",Comedy|War\n2,Heat,Crime\n')
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,2,1.0,20\n7,1,4.5,10\n")
    (tmp_path / "README.txt").write_text("no data")
    for source in (tmp_path, tmp_path / "ratings.csv"):
        films, ratings = parts(open_dataset(str(source)))
        assert [(film.title, film.description) for film in films] == [
            ("Toys, The", "Comedy, War"),
            ("Heat", "Crime"),
        ]
        assert films[0].attributes == {"genres": ("Comedy", "War")}
        assert [(act.item, act.value, act.time) for act in ratings] == [
            ("1", 4.5, 10_000),
            ("2", 1.0, 20_000),
        ]
        assert {str(act.type) for act in ratings} == {"rating"}
    (tmp_path / "movies.csv").unlink()
    assert len(parts(open_dataset(str(tmp_path)))[1]) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_movielens_without_headers_is_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "movies.dat").write_bytes("1::Misérables, Les (1995)::Drama|Musical\n".encode(encoding))
    (tmp_path / "ratings.dat").write_text("1::1::5::978300760\n")
    (film,), (rating,) = parts(open_dataset(str(tmp_path)))
    assert (film.title, film.description) == ("Misérables, Les (1995)", "Drama, Musical")
    assert (rating.user, rating.value, rating.time) == ("1", 5.0, 978_300_760_000)


def test_sessions_are_read_in_the_order_of_rows_and_files(tmp_path: Path) -> None:
    (tmp_path / "SOURCE.txt").write_text("no data")
    for period in (0, 2, 10):
        (tmp_path / f"period_{period}.txt").write_text(f"{period} 1\n{period} 2\n")
    dataset = open_dataset(str(tmp_path))
    items, views = parts(dataset)
    assert (dataset.name, items) == ("sessions", [])
    assert [(act.user, act.item) for act in views] == [(p, i) for p in ("0", "2", "10") for i in ("1", "2")]
    assert [b.time - a.time for a, b in zip(views, views[1:], strict=False)] == [1_000] * 5


def test_retailrocket_yoochoose_and_amazon_are_read(tmp_path: Path) -> None:
    for name, content, expected in [
        (
            "events.csv",
            "timestamp,visitorid,event,itemid,transactionid\n1433221332117,1,transaction,2,3\n",
            ("1", "2", "purchase", 1_433_221_332_117),
        ),
        ("yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z,2,0\n", ("1", "2", "click", 1_396_867_869_277)),
    ]:
        (tmp_path / name).write_text(content)
        (act,) = parts(open_dataset(str(tmp_path / name)))[1]
        assert (act.user, act.item, str(act.type), act.time) == expected
    review = {
        "user_id": "U",
        "parent_asin": "A",
        "rating": 4.0,
        "timestamp": 1_588_687_728_923,
        "title": "Nice",
    }
    goods = {"parent_asin": "A", "title": "Mug", "main_category": "Home", "price": 3.5, "store": None}
    folder = tmp_path / "amazon"
    folder.mkdir()
    (folder / "All_Beauty.jsonl").write_bytes(orjson.dumps(review))
    (folder / "meta_All_Beauty.jsonl").write_bytes(orjson.dumps(goods))
    (item,), (act,) = parts(open_dataset(str(folder)))
    assert (item.title, item.category, item.attributes) == ("Mug", "Home", {"price": 3.5})
    assert (act.value, act.time) == (4.0, 1_588_687_728_923)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_a_mapping(name: str) -> None:
    assert preset(name).name in name


def test_a_table_of_two_numbers_is_no_session_file(tmp_path: Path) -> None:
    (tmp_path / "prose.txt").write_text("two words\n")
    assert recognised(tmp_path) is None


def test_the_shared_data_sets_match_their_descriptions() -> None:
    dataset = open_dataset(shared("ml-latest-small"))
    films, ratings = parts(dataset)
    assert (dataset.name, len(films), len(ratings)) == ("movielens", 9_742, 100_836)
    assert all(one.time <= other.time for one, other in zip(ratings, ratings[1:], strict=False))
    assert len({act.event_id for act in ratings}) == len(ratings)
    clicks = open_dataset(shared("diginetica")).events()
    first = [next(clicks) for _ in range(3)]
    assert [(act.user, act.item) for act in first if isinstance(act, Interaction)] == [
        ("186964", "1"),
        ("3549", "6"),
        ("85004", "5"),
    ]
