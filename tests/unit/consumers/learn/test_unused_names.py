"""Names of the settings that nothing has are found, where there is enough to say so."""

from __future__ import annotations

from consumers.learn import unused_names as module
from consumers.learn.unused_names import unused_names
from pipeline.config import ModelSizes
from pipeline.events import Item, User
from pipeline.state.catalogue import Catalogue
from pipeline.state.profiles import Profiles

SIZES = ModelSizes(
    vectors={"shape": 3, "sound": 3},
    attributes=("brand", "colour", "category"),
    relations=("series", "accessory_of"),
    user_attributes=("country", "plan"),
)


def catalogue_of(n: int) -> Catalogue:
    items = [
        Item(
            item=f"i-{number}",
            title="A cup",
            time=0,
            category="cups",
            vectors={"shape": (1.0, 2.0, 3.0)} if number == n - 1 else {},
            attributes={"brand": "Acme", "series": ("i-0",)} if number == n - 1 else {},
        )
        for number in range(n)
    ]
    return Catalogue((item.item, item) for item in items)


def profiles_of(n: int) -> Profiles:
    profiles = Profiles(SIZES.user_attributes)
    profiles.ingest([User(user=f"u-{number}", attributes={"country": "DE"}) for number in range(n)])
    return profiles


def test_names_that_nothing_has_are_found() -> None:
    assert list(unused_names(SIZES, catalogue_of(100), profiles_of(100))) == [
        "learn.sizes.vectors.sound: none of 100 items has it",
        "learn.sizes.attributes names 'colour': none of 100 items has it",
        "learn.sizes.relations names 'accessory_of': none of 100 items has it",
        "learn.sizes.user_attributes names 'plan': none of 100 users has it",
    ]


def test_few_items_and_users_say_nothing() -> None:
    assert not list(unused_names(SIZES, catalogue_of(module.LEAST - 1), profiles_of(module.LEAST - 1)))
    assert not list(unused_names(ModelSizes(), catalogue_of(100), profiles_of(100)))
