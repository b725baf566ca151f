"""The catalogue as the console knows it."""

from __future__ import annotations

from consumers.console.catalogue import MOST_FOUND, CatalogueItem, CatalogueItems
from tests.support.serve_harness import World
from tests.support.serve_tools import following, wait_until


def test_it_follows_the_log(world: World) -> None:
    items = CatalogueItems()
    world.stock()
    with following(lambda stop: items.follow(world.log, world.topics, stop)):
        wait_until(lambda: len(items) == 12)
        world.upsert("red-cup", "Crimson mug")
        world.change("blue-cup", available=False)
        world.remove("green-cup")
        wait_until(lambda: len(items) == 11)
    assert items.title("red-cup") == "Crimson mug"
    assert items.title("blue-cup") == "blue cup"
    assert items.title("green-cup") == "green-cup", "its id, once it is removed"


def test_all_words_must_be_in_the_title_and_an_id_comes_first(world: World) -> None:
    items = CatalogueItems()
    world.stock()
    world.upsert("x", "not a red-cup but a cup in red")
    items.read(world.records(world.topics.items))
    assert {one.item for one in items.search("CUP red")} == {"red-cup", "x"}
    assert [one.item for one in items.search("red-cup")] == ["red-cup", "x"]
    assert [one.item for one in items.search(" x ")] == ["x"]
    assert items.search("red spoon") == items.search("") == []


def test_only_the_first_are_found() -> None:
    items = CatalogueItems()
    items._items = {str(n): CatalogueItem(str(n), f"Cup {n}", "", f"cup {n}") for n in range(1_000)}
    assert len(items.search("cup")) == MOST_FOUND
    assert items.search("999")[0].item == "999"
