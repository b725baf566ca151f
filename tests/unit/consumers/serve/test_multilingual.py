"""Titles in any script go from the log to the answer: encoded within bounds, learned, published, served."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest

from pipeline.errors import InvalidEvent
from pipeline.events import Item, decode_item, encode
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from tests.support.multilingual_backbone import multilingual_backbone
from tests.support.serve_harness import CPU, World
from tests.unit.consumers.serve.http.test_app import client_of

COMPOSED = "Tasse à café, crème brûlée, 한국 컵"
TITLES = {
    "arabic": "كُوب أحمر كبير",
    "hindi": "लाल कप बड़ा",
    "chinese": "红色的大杯子",
    "thai": "แก้วสีแดงใบใหญ่",
    "emoji": "☕🔴 👨‍👩‍👧‍👦 🏳️‍🌈",
    "marks": "r" + "\u0301\u0323" * 200 + "ed",
    "both ways": "\u202ered\u202c כוס \u200fcup\u200e",
    "long": "杯" * 1_000,
    "composed": COMPOSED,
    "decomposed": unicodedata.normalize("NFD", COMPOSED),
    "تفاح-🍎": "an id in another script",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A shop that has learned acts on all of the titles."""
    folder = tmp_path_factory.mktemp("multilingual")
    with World(folder, load_backbone(str(multilingual_backbone(folder / "backbone")))) as made:
        made.stock()
        for item, title in TITLES.items():
            made.upsert(item, title)
        made.shop()
        made.act("昭和", *TITLES)
        made.learn()
        made.publish()
        yield made


def test_texts_have_vectors_of_length_1_of_no_more_tokens_than_are_allowed(world: World) -> None:
    with_long = TextEncoder(world.backbone, world.folder / "other", 8, CPU)
    titles = [Item(item=item, title=title).text for item, title in TITLES.items()]
    assert all(with_long._tokenize(title)["input_ids"].shape[1] <= 8 for title in titles)
    vectors = with_long.encode(titles)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)
    likeness = vectors @ vectors.T
    same = [*TITLES].index("composed"), [*TITLES].index("decomposed")
    assert {(a, b) for a, b in np.argwhere(np.triu(likeness, 1) > 0.9999).tolist()} == {same}
    with_long.close()


def test_one_text_in_two_forms_is_one_content(world: World) -> None:
    assert TITLES["composed"] != TITLES["decomposed"]
    loaded = world.loader().load(world.store.versions()[-1])
    one, other = (loaded.rows[name] for name in ("composed", "decomposed"))
    assert loaded.digests["composed"] == loaded.digests["decomposed"]
    assert loaded.items.content[one].tolist() == loaded.items.content[other].tolist()


def test_titles_and_ids_come_back_as_they_were_sent(world: World) -> None:
    catalogue = world.learner.stream.catalogue
    learned = {entry.item: entry.title for entry in catalogue.entries if entry}
    assert learned.items() >= TITLES.items()
    with client_of(world) as client:
        answer = client.get(f"/v1/users/{quote('昭和')}/recommendations", params={"k": 20}).json()
        assert answer["source"] == "model"
        shown = {item["item"]: item["title"] for item in answer["items"]}
        assert len(shown.keys() & TITLES.keys()) > len(TITLES) / 2
        assert all(title == TITLES[item] for item, title in shown.items() if item in TITLES)
        for item in TITLES:
            near = client.get(f"/v1/items/{quote(item)}/similar", params={"k": 20})
            assert near.status_code == 200 and item not in {one["item"] for one in near.json()["items"]}
        again = client.get(f"/v1/users/{quote('昭和')}/recommendations", params={"k": 20}).json()
        assert again["items"] == answer["items"]


def test_a_title_that_is_too_long_is_refused_in_characters_and_not_in_bytes() -> None:
    whole = Item(item="a", title="杯" * 1_000)
    assert decode_item(encode(whole)) == whole
    with pytest.raises(InvalidEvent, match="title"):
        decode_item(encode(Item.model_construct(item="a", title="杯" * 1_001)))
