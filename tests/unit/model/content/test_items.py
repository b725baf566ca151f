"""The content of items: texts, and beside them the vectors that the settings declare."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import CODE_WIDTH, ModelSizes
from pipeline.events import Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.codes import code_of
from pipeline.model.content.items import ItemEncoder, UnreadVector
from pipeline.model.content.text import TextEncoder

NAMES = ["image", "sound", "wave"]
Numbers = st.floats(-1e6, 1e6, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)
Vectors = dict[str, tuple[float, ...]]
vectors_of_items = st.dictionaries(
    st.sampled_from(NAMES), st.lists(Numbers, min_size=1, max_size=5).map(tuple)
)


@pytest.fixture(scope="module")
def encoder(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder(backbone, tmp_path_factory.mktemp("cache"), 8, torch.device("cpu"))


def no_text(_: str) -> str:
    return ""


def item(vectors: Vectors, title: str = "red cup") -> Item:
    return Item(item="one", title=title, vectors=vectors)


def test_without_declared_vectors_the_content_is_that_of_the_texts(encoder: TextEncoder) -> None:
    items = [item({"image": (1.0, 2.0)}), None, item({}, "")]
    found = ItemEncoder(ModelSizes()).encode(items, encoder, no_text)
    assert np.array_equal(found, encoder.encode(["red cup", "", ""]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(vectors_of_items, min_size=1, max_size=6), st.permutations([("image", 2), ("sound", 3)]))
def test_rows_hold_text_and_directions_in_the_order_of_names(
    encoder: TextEncoder, brought: list[Vectors], declared: list[tuple[str, int]]
) -> None:
    items = [item(vectors) for vectors in brought]
    items_encoder = ItemEncoder(ModelSizes(vectors=dict(declared)))
    found = items_encoder.encode(items, encoder, no_text)
    assert found.shape == (len(items), encoder.width + 5)
    assert np.array_equal(found[:, : encoder.width], encoder.encode([one.text for one in items]))
    assert np.array_equal(found, found.astype(np.float16).astype(np.float32)), "a table keeps it exactly"
    expected, columns = Counter[UnreadVector](), {"image": slice(0, 2), "sound": slice(2, 5)}
    for row, vectors in zip(found[:, encoder.width :], brought, strict=True):
        for name, width in declared:
            vector = np.array(vectors.get(name, ()))
            readable = vector.size == width and vector.any()
            direction = vector / np.linalg.norm(vector) if readable else np.zeros(width)
            np.testing.assert_allclose(row[columns[name]], direction, atol=1e-3)
            expected[UnreadVector.WIDTH] += vector.size not in (0, width)
            expected[UnreadVector.LENGTH] += vector.size == width and not vector.any()
        expected[UnreadVector.UNDECLARED] += "wave" in vectors
    assert items_encoder.take_unread() == expected
    assert not items_encoder.take_unread()


def test_an_item_s_content_does_not_depend_on_the_others(encoder: TextEncoder) -> None:
    items = [item({"image": (1.0, 2.0)}), item({}, "blue plate"), item({"image": (-3.0, 0.5)}, "")]
    together = ItemEncoder(ModelSizes(vectors={"image": 2})).encode(items, encoder, no_text)
    alone = [
        ItemEncoder(ModelSizes(vectors={"image": 2})).encode([one], encoder, no_text)[0] for one in items
    ]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("vector", [(0.0, 0.0), (1e-30, 0.0), (1e300, 1e300), (math.nextafter(0, 1), 0.0)])
def test_a_vector_without_a_direction_is_left_out(encoder: TextEncoder, vector: tuple[float, float]) -> None:
    items = ItemEncoder(ModelSizes(vectors={"image": 2}))
    found = items.encode([item({"image": vector})], encoder, no_text)
    assert not found[:, encoder.width :].any()
    assert items.take_unread() == {UnreadVector.LENGTH: 1}


def test_the_first_of_each_reason_is_logged_without_the_item(
    encoder: TextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    items = ItemEncoder(ModelSizes(vectors={"image": 2}))
    secret = Item(item="secret-id", title="cup", vectors={"image": (1.0,), "wave": (1.0,)})
    for _ in range(3):
        items.encode([secret, secret], encoder, no_text)
    assert len(caplog.messages) == 2
    assert "image has 1 number, not 2" in caplog.text
    assert "'wave' is not in learn.sizes.vectors" in caplog.text
    assert "secret-id" not in caplog.text
    assert items.take_unread() == {UnreadVector.WIDTH: 6, UnreadVector.UNDECLARED: 6}


def test_names_are_plain_and_sorted() -> None:
    assert [*ModelSizes(vectors={"sound": 3, "image": 2}).vectors] == ["image", "sound"]
    assert ModelSizes(vectors={"sound": 3, "image": 2}).columns(7) == 12
    for widths in ({"An Image": 3}, {"image": 0}, {"image": 1_025}, {f"v{n}": 1 for n in range(9)}):
        with pytest.raises(ValueError, match="vectors"):
            ModelSizes(vectors=widths)


def test_attributes_have_codes_and_relations_the_direction_of_texts(encoder: TextEncoder) -> None:
    sizes = ModelSizes(attributes=("category", "brand"), relations=("part_of",))
    kit = Item(
        item="kit", title="kit", attributes={"brand": ("Ember", "Oak"), "part_of": ("a", "kit", "none")}
    )
    items = [kit, Item(item="a", title="red cup", category="mugs"), None]
    texts = {"a": "red cup", "kit": "kit"}
    found = ItemEncoder(sizes).encode(items, encoder, lambda other: texts.get(other, ""))
    assert found.shape == (3, sizes.columns(encoder.width))
    text, brand, category, related = np.split(
        found, np.cumsum([encoder.width, CODE_WIDTH, CODE_WIDTH]), axis=1
    )
    assert np.array_equal(text, encoder.encode(["kit", "red cup", ""]))
    both = code_of("brand", ["Ember", "Oak"])
    np.testing.assert_allclose(brand[0], both / np.linalg.norm(both), atol=1e-3)
    assert np.linalg.norm(category[1]) == pytest.approx(1, abs=1e-3)
    assert not brand[1:].any() and not category[[0, 2]].any() and not related[1:].any()
    np.testing.assert_allclose(related[0], text[1], atol=1e-3)


def test_a_name_is_of_a_vector_or_of_an_attribute() -> None:
    assert ModelSizes(attributes=("brand", "age", "brand")).attributes == ("age", "brand")
    for sizes in (
        {"vectors": {"look": 2}, "attributes": ["look"]},
        {"attributes": ["a.b"]},
        {"relations": [""]},
    ):
        with pytest.raises(ValueError, match="look|attributes|relations"):
            ModelSizes.model_validate(sizes)
