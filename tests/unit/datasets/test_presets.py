"""Known data sets are recognised by their files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import orjson
import pytest

from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.inspection import inspect
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


def test_mind_has_an_act_for_each_click_and_titles_with_quotes(tmp_path: Path) -> None:
    (tmp_path / "behaviors.tsv").write_text(
        "1\tU1\t11/11/2019 9:05:58 PM\tN9 N8\tN1-0 N2-1 N3-1\n2\tU2\t11/12/2019 8:00:00 AM\t\tN2-0\n"
    )
    (tmp_path / "news.tsv").write_text('N2\tnews\tus\t"Wheel" fans\tAn "abstract\thttp://x\t[]\t[]\n')
    for source in (tmp_path, tmp_path / "behaviors.tsv"):
        dataset = open_dataset(str(source))
        (news,), clicks = parts(dataset)
        assert (dataset.name, news.title, news.description) == ("mind", '"Wheel" fans', 'An "abstract')
        assert (news.category, news.attributes) == ("news", {"subcategory": "us"})
        assert [(act.user, act.item, str(act.type)) for act in clicks] == [
            ("U1", n, "click") for n in ("N2", "N3")
        ]
        assert clicks[0].time == clicks[1].time == 1_573_506_358_000
        assert dict(dataset.drops.counts) == {"shown and not clicked": 2}


SAMPLES = {
    "online-retail": (
        "retail.csv",
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n",
    ),
    "movielens": ("ratings.csv", "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n"),
    "movielens-dat": ("ratings.dat", "1::1193::5::978300760\n"),
    "sessions": ("period_1.txt", "12 7\n12 8\n"),
    "retailrocket": (
        "events.csv",
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n",
    ),
    "yoochoose": ("yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0\n"),
    "yoochoose-buys": ("yoochoose-buys.dat", "420374,2014-04-06T18:44:58.314Z,214537888,12462,1\n"),
    "amazon-reviews": (
        "Books.jsonl",
        '{"rating":5.0,"title":"Good","parent_asin":"B01","user_id":"AG","timestamp":1588687728923}\n',
    ),
    "mind": ("behaviors.tsv", "1\tU1\t11/11/2019 9:05:58 AM\tN9\tN1-0 N2-1\n"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("packed", [False, True])
def test_inspect_finds_the_mapping_of_every_known_data_set_unaided(
    tmp_path: Path, name: str, packed: bool
) -> None:
    file, content = SAMPLES[name]
    path = tmp_path / (f"{file}.gz" if packed else file)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    for source in (tmp_path, path):
        found = inspect(source, now=1_790_000_000_000)
        assert found.mapping is not None
        assert (found.is_known, found.questions) == (True, [])
        assert found.mapping.name == preset(name).name
        assert found.interactions


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
