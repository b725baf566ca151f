"""Content vectors have the same bits in any batch, and are computed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from pipeline.model.backbone import Backbone
from pipeline.model.content.cache import QUERY_SIZE, ContentCache
from pipeline.model.content.text import TOGETHER, TextEncoder
from tests.support.retrain_harness import some_adapter

TEXTS = ["red cup", "blue plate", "a clock of the candle holder", "red cup"]
WORDS = ["red", "blue", "cup", "plate", "clock", "candle", "holder"]


@pytest.fixture
def encoder(backbone: Backbone, tmp_path: Path) -> Iterator[TextEncoder]:
    with closing(encoder_in(tmp_path, backbone)) as made:
        yield made


def encoder_in(folder: Path, backbone: Backbone, max_tokens: int = 8) -> TextEncoder:
    return TextEncoder(backbone, folder, max_tokens, torch.device("cpu"))


def some_texts(words: int, count: int) -> list[str]:
    """Different texts of so many words each, all known to the tokenizer."""
    return [" ".join(chosen) for chosen in islice(product(WORDS, repeat=words), count)]


@contextmanager
def runs_of(backbone: Backbone) -> Iterator[list[int]]:
    """Record the number of different texts in each pass of the language model meanwhile."""
    runs: list[int] = []

    def record(_model: object, _args: object, named: dict[str, torch.Tensor], _output: object) -> None:
        runs.append(len({tuple(text) for text in named["input_ids"].tolist()}))

    hook = backbone.model.register_forward_hook(record, with_kwargs=True)
    yield runs
    hook.remove()


def test_a_text_has_the_same_bits_alone_or_among_others(backbone: Backbone, tmp_path: Path) -> None:
    with closing(encoder_in(tmp_path / "together", backbone)) as encoder:
        together = encoder.encode(TEXTS)
    with closing(encoder_in(tmp_path / "alone", backbone)) as encoder:
        alone = [encoder.encode([text])[0] for text in TEXTS]
    np.testing.assert_array_equal(together, alone)


def test_texts_of_one_length_share_a_pass(backbone: Backbone, tmp_path: Path) -> None:
    texts = some_texts(words=2, count=TOGETHER + 8) + some_texts(words=5, count=3)
    with runs_of(backbone) as runs, closing(encoder_in(tmp_path, backbone)) as encoder:
        encoder.encode(texts)
    assert runs == [TOGETHER, 8, 3]


@pytest.mark.parametrize("words", [1, 2, 3, 12, 30])
def test_bits_do_not_depend_on_other_texts_with_the_widths_of_the_default_backbone(
    words: int, backbone: Backbone, tmp_path: Path
) -> None:
    config = BertConfig(
        vocab_size=len(backbone.tokenizer),
        hidden_size=384,
        num_hidden_layers=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    wide, texts = replace(backbone, model=BertModel(config)), some_texts(words, count=5)
    with closing(encoder_in(tmp_path / "together", wide, max_tokens=64)) as encoder:
        together = encoder.encode(texts)
    with closing(encoder_in(tmp_path / "alone", wide, max_tokens=64)) as encoder:
        alone = [encoder.encode([text])[0] for text in texts]
    np.testing.assert_array_equal(together, alone)


def test_vectors_have_unit_length_and_an_empty_text_has_none(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["red cup", "", "blue plate"])
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1], abs=1e-3)
    assert np.array_equal(vectors.astype(np.float16), vectors)  # nothing is lost where they are kept so
    assert encoder.encode([]).shape == (0, encoder.width)


def test_a_vector_is_the_mean_of_the_models_hidden_states(encoder: TextEncoder, backbone: Backbone) -> None:
    with torch.no_grad():
        hidden = backbone.model(**backbone.tokenizer("red cup", return_tensors="pt")).last_hidden_state[0]
    mean = hidden.mean(dim=0)
    np.testing.assert_allclose(encoder.encode(["red cup"])[0], mean / mean.norm(), rtol=1e-3, atol=1e-6)


def test_texts_that_share_words_are_closer(encoder: TextEncoder) -> None:
    red_cup, red_plate, clock = encoder.encode(["red cup", "red plate", "clock holder"])
    assert red_cup @ red_plate > red_cup @ clock


def test_a_long_text_is_truncated_at_the_limit(backbone: Backbone, tmp_path: Path) -> None:
    with closing(encoder_in(tmp_path, backbone, max_tokens=4)) as encoder:
        short, longer = encoder.encode(["red cup", "red cup of the blue plate"])
    np.testing.assert_array_equal(short, longer)


def test_each_text_is_encoded_only_once(backbone: Backbone, tmp_path: Path) -> None:
    with runs_of(backbone) as runs, closing(encoder_in(tmp_path, backbone)) as encoder:
        first = encoder.encode(TEXTS)
        assert sum(runs) == 3
    with runs_of(backbone) as runs, closing(encoder_in(tmp_path, backbone)) as encoder:
        np.testing.assert_array_equal(encoder.encode(TEXTS), first)
        assert not runs


def test_what_is_cached_or_empty_is_known(encoder: TextEncoder) -> None:
    encoder.encode(["red cup"])
    adapted = encoder.adapted(some_adapter(encoder))
    assert [encoder.knows(text) for text in ("red cup", "", "blue cup")] == [True, True, False]
    assert [adapted.knows(text) for text in ("red cup", "")] == [False, True]


def test_a_cached_vector_is_not_replaced(tmp_path: Path) -> None:
    with closing(ContentCache(tmp_path, "digest", 2)) as cache:
        cache.put({"a": np.array([1, 2], dtype=np.float32)})
        cache.put({"a": np.array([3, 4], dtype=np.float32), "b": np.array([5, 6], dtype=np.float32)})
    with closing(ContentCache(tmp_path, "digest", 2)) as cache:
        found = cache.get(["b", "unknown", "a"])
    assert {digest: vector.tolist() for digest, vector in found.items()} == {"a": [1, 2], "b": [5, 6]}


def test_vectors_of_another_width_are_not_found(tmp_path: Path) -> None:
    with closing(ContentCache(tmp_path, "digest", 2)) as cache:
        cache.put({"a": np.array([1, 2], dtype=np.float32)})
    with closing(ContentCache(tmp_path, "digest", 3)) as cache:
        assert cache.get(["a"]) == {}


def test_more_digests_than_a_query_holds_are_found(tmp_path: Path) -> None:
    vectors = {str(n): np.array([n], dtype=np.float32) for n in range(2 * QUERY_SIZE + 1)}
    with closing(ContentCache(tmp_path, "digest", 1)) as cache:
        cache.put(vectors)
        assert cache.get(list(vectors)) == vectors


def test_a_cache_that_cannot_be_opened_costs_only_the_cache(tmp_path: Path, backbone: Backbone) -> None:
    with closing(encoder_in(tmp_path / "whole", backbone)) as encoder:
        expected = encoder.encode(TEXTS)
    (tmp_path / "file").write_text("a folder cannot be made here")
    with closing(encoder_in(tmp_path / "file", backbone)) as encoder:
        np.testing.assert_array_equal(encoder.encode(TEXTS), expected)
        np.testing.assert_array_equal(encoder.encode(TEXTS), expected)


def test_a_cache_that_is_full_or_damaged_costs_only_the_cache(tmp_path: Path) -> None:
    vectors = {"a": np.array([1, 2], dtype=np.float32)}
    with closing(ContentCache(tmp_path, "digest", 2)) as cache:
        cache.put(vectors)
        cache._database.execute("PRAGMA max_page_count = 1")  # as a full disk: "database or disk is full"
        cache.put({str(n): np.zeros(2, dtype=np.float32) for n in range(1_000)})
        assert cache.get(["a", "1"]).keys() == {"a"}
    (tmp_path / "digest.db").write_bytes(b"damaged" * 1_000)
    with closing(ContentCache(tmp_path, "digest", 2)) as cache:
        assert cache.get(["a"]) == {}
        cache.put(vectors)
        assert cache.get(["a"]).keys() == {"a"}


def test_vectors_with_an_adapter_differ_and_are_cached_apart(encoder: TextEncoder) -> None:
    plain = encoder.encode(TEXTS)
    adapter = some_adapter(encoder)
    adapted = encoder.adapted(adapter)
    under = adapted.encode(TEXTS)
    assert abs(under - plain)[[bool(text) for text in TEXTS]].max() > 0.01
    np.testing.assert_array_equal(encoder.encode(TEXTS), plain)
    np.testing.assert_array_equal(adapted.encode(TEXTS), under)
    np.testing.assert_array_equal(adapted.adapted({}).encode(TEXTS), plain)
    assert adapted.adapted(dict(adapter)) is adapted
    assert adapted.backbone_digest == encoder.backbone_digest


def test_an_adapter_of_another_backbone_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="another backbone"):
        encoder.adapted({"unheard-of": torch.zeros(2)})
