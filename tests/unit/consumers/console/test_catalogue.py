"""The catalogue as the console knows it."""

from __future__ import annotations

from consumers.console.catalogue import MOST_FOUND, CatalogueItem, CatalogueItems
from consumers.console.pictures import Pictures
from pipeline.config import MediaConfig
from pipeline.eventlog.port import Record
from pipeline.events import Item, ItemChange, encode
from tests.support.serve_harness import World
from tests.support.serve_tools import following, wait_until

NO_PICTURES = Pictures(MediaConfig())


def test_it_follows_the_log(world: World) -> None:
    items = CatalogueItems(NO_PICTURES)
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
    items = CatalogueItems(NO_PICTURES)
    world.stock()
    world.upsert("x", "not a red-cup but a cup in red")
    items.read(world.records(world.topics.items))
    assert {one.item for one in items.search("CUP red")} == {"red-cup", "x"}
    assert [one.item for one in items.search("red-cup")] == ["red-cup", "x"]
    assert [one.item for one in items.search(" x ")] == ["x"]
    assert items.search("red spoon") == items.search("") == []


def test_only_the_first_are_found() -> None:
    items = CatalogueItems(NO_PICTURES)
    items._items = {str(n): CatalogueItem(str(n), f"Cup {n}", "", f"cup {n}") for n in range(1_000)}
    assert len(items.search("cup")) == MOST_FOUND
    assert items.search("999")[0].item == "999"


def test_a_picture_comes_with_the_item_and_changes_with_it() -> None:
    items = CatalogueItems(Pictures(MediaConfig(hosts=("img.example.com",))))

    def read(event: Item | ItemChange) -> str:
        items.read([Record("shop.items", 0, 0, 0, event.item, encode(event))])
        return items.picture("cup")

    photo, other = "https://img.example.com/a.png", "https://img.example.com/b.png"
    assert read(Item(item="cup", title="Cup", category="kitchen", media={"photo": photo})) == photo
    assert read(ItemChange(item="cup", available=False)) == photo
    assert read(ItemChange(item="cup", media={"photo": other})) == other
    assert read(ItemChange(item="cup", media={})) == ""
    assert items.search("cup")[0].category == "kitchen"
    assert read(ItemChange(item="none", media={"photo": photo})) == "" and len(items) == 1
