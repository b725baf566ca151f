"""Catalogues as csv: each row an item, each refused row with its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.events import Item, decode
from tests.support.gateway_harness import TOPICS, GatewayHarness

CSV = {"Content-Type": "text/csv; charset=utf-8"}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayHarness]:
    with GatewayHarness(tmp_path) as made:
        yield made


def test_rows_are_items_and_other_columns_attributes(gateway: GatewayHarness) -> None:
    body = (
        "\ufeffitem,title,category,available,expires,brand,colour\n"
        'mug,"Mug, white",kitchen,yes,2030-01-01T00:00:00Z,Falcon,\n'
        '\nlamp,"Lamp\nof two lines",,no,1900000000000,,red\n'
        "bad,Bad,,perhaps,,,\nshort,Short\nseconds,Seconds,,,1900000000,,\n"
    )
    answer = gateway.send("POST", "/v1/items", content=body.encode(), headers=CSV)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    found = [(one["line"], one["field"]) for one in answer.json()["refused"]]
    assert found == [(6, "available"), (7, "event"), (8, "expires")]
    mug, lamp = (decode(Item, record.value or b"") for record in gateway.records(TOPICS.items))
    assert (mug.title, mug.category, mug.attributes) == ("Mug, white", "kitchen", {"brand": "Falcon"})
    assert (mug.available, mug.expires) == (True, 1_893_456_000_000)
    assert (lamp.title, lamp.available, lamp.expires) == ("Lamp\nof two lines", False, 1_900_000_000_000)
    assert lamp.attributes == {"colour": "red"}


def test_columns_of_numbers_say_so(gateway: GatewayHarness) -> None:
    body = b"""item,title,price:number,size
mug,Mug,7.50,42
cup,Cup,,
lamp,Lamp,1.000,5
pot,Pot,"7,50",x
hat,Hat,nan,
"""
    answer = gateway.send("POST", "/v1/items", content=body, headers=CSV).json()
    assert [(one["line"], one["field"], one["code"]) for one in answer["refused"]] == [
        (5, "price:number", "wrong_type"),
        (6, "price:number", "wrong_type"),
    ]
    assert "with a point before decimals" in answer["refused"][0]["reason"]
    found = [decode(Item, record.value or b"").attributes for record in gateway.records(TOPICS.items)]
    assert found == [{"price": 7.5, "size": "42"}, {}, {"price": 1.0, "size": "5"}]


@pytest.mark.parametrize("column", ["media", "vectors", "attributes"])
def test_fields_that_no_cell_can_hold_are_refused_and_no_attributes(
    gateway: GatewayHarness, column: str
) -> None:
    body = f"item,title,{column}\nmug,Mug,https://img.example.com/mug.png\n".encode()
    answer = gateway.send("POST", "/v1/items", content=body, headers=CSV)
    assert (answer.status_code, column in answer.json()["detail"]) == (400, True)
    assert not gateway.records(TOPICS.items)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"title\nMug\n", "line 1: must name the columns, divided by commas; `item` is not among them"),
        (b"item;title\nmug;Mug\n", "line 1: must name the columns, divided by commas; `item`"),
        (b"", "line 1: must name the columns"),
        (b"item,p,p:number\na,1,2\n", "line 1: must name each column once; twice is 'p'"),
        (b"item,item\na,b\n", "line 1: must name each column once; twice is 'item'"),
        (b"item,title\nmug,Mug\nlamp,\xff\n", "line 3: the text is not UTF-8"),
        (
            b'item,title\n"mug","Mug\nwhite"\n\nlamp,Lamp\nhat,"Hat\ncap,Cap\n',
            "line 6: what begins there is no",
        ),
        (b'item,title\nmug,"Mug"s\n', "line 2: what begins there is no"),
        (b"item,title\nmug,Mug\nhat," + b"x" * 200_000, "line 3: what begins there is no"),
        (b'"item\nmug', "line 1: what begins there is no"),
    ],
)
def test_what_is_no_csv_of_items_is_refused_as_a_whole_with_its_line(
    gateway: GatewayHarness, body: bytes, fault: str
) -> None:
    answer = gateway.send("POST", "/v1/items", content=body, headers=CSV)
    assert (answer.status_code, answer.json()["detail"][: len(fault)]) == (400, fault)
    assert not gateway.records(TOPICS.items)


@pytest.mark.parametrize("route", ["/v1/interactions", "/v1/events", "/v1/users"])
def test_only_items_may_be_csv(gateway: GatewayHarness, route: str) -> None:
    assert gateway.send("POST", route, content=b"item\na\n", headers=CSV).status_code == 415


@pytest.mark.parametrize("digits", [5_000, 21, 20])
def test_a_time_of_too_many_digits_is_refused_alone(gateway: GatewayHarness, digits: int) -> None:
    body = f"item,title,time\nmug,Mug,{'9' * digits}\ncup,Cup,1790000000000\n"
    answer = gateway.send("POST", "/v1/items", content=body.encode(), headers=CSV)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert [(one["line"], one["field"]) for one in answer.json()["refused"]] == [(2, "time")]
