"""Encode texts to frozen content vectors: mean-pooled, normalised hidden states of the backbone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.model.backbone import Backbone
from pipeline.model.content.adapter import NO_ADAPTER, Adapter, adapter_digest, with_adapter
from pipeline.model.content.cache import ContentCache
from pipeline.state.catalogue import content_digest

Tokens = Mapping[str, Tensor]
"""The tokenizer's tensors ``[1, t]`` of one text, by name."""
STORE_EVERY = 1_024
"""Texts between two writes to the cache: what a killed process loses, at most."""
TOGETHER = 32
"""Texts that a CPU encodes in one pass: with more, activations take memory, but no text less time."""
LEAST_TOKENS = 16
"""Tokens in a pass, at least: for fewer than 4, BLAS has another kernel, whose sums have other bits."""


class TextEncoder:
    """Encodes each text once per digest and caches the vector on disk.

    Texts with equal numbers of tokens are encoded together, without padding: measured, titles of 14 tokens
    at 284 instead of 104 a second of a CPU's core, and at 8,000 instead of 330 a second on CUDA. On a CPU
    the bits of a vector do not depend on the other texts, as a rebuild from the journal requires: each row
    of a product is summed for itself (measured for 3 to 64 tokens). CUDA promises no equal bits.

    Attributes:
        backbone: the language model without an adapter.
        adapter: the adapter applied to it for encoding.
    """

    def __init__(self, backbone: Backbone, cache_folder: Path, max_tokens: int, device: torch.device) -> None:
        self.backbone = backbone
        self.adapter = NO_ADAPTER
        self._adapter_digest = adapter_digest(NO_ADAPTER)
        self._model = backbone.model
        torch.nn.Module.to(self._model, device)
        self.device = device
        self.max_tokens = max_tokens
        folder = cache_folder / f"text-{max_tokens}-{device.type}"
        self._cache = ContentCache(folder, backbone.digest, backbone.width)

    @property
    def width(self) -> int:
        """d, the length of a vector."""
        return self.backbone.width

    @property
    def backbone_digest(self) -> str:
        """Digest of the language model without an adapter."""
        return self.backbone.digest

    def adapted(self, adapter: Adapter) -> TextEncoder:
        """Return an encoder with another adapter; both share the cache file under different keys.

        Raises:
            ValueError: the adapter belongs to another backbone.
        """
        digest = adapter_digest(adapter)
        if digest == self._adapter_digest:
            return self
        other = copy.copy(self)
        other.adapter, other._adapter_digest = adapter, digest
        base = self.backbone.model
        other._model = with_adapter(base, adapter).requires_grad_(False) if adapter else base
        return other

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts to unit vectors, shape ``[len(texts), d]``; zero for an empty text.

        They are rounded to 16 bits a number, so that who keeps them as such keeps them exactly.
        """
        digests = [self._key(text) for text in texts]
        known = self._cache.get(digests)
        missing = {d: text for d, text in zip(digests, texts, strict=True) if d and d not in known}
        for start in range(0, len(missing), STORE_EVERY):
            fresh = self._encode_missing(dict(islice(missing.items(), start, start + STORE_EVERY)))
            self._cache.put(fresh)
            known |= fresh
        zero = np.zeros(self.width, dtype=np.float32)
        vectors = [known.get(digest, zero) for digest in digests]
        return np.array(vectors, dtype=np.float16).reshape(-1, self.width).astype(np.float32)

    def knows(self, text: str) -> bool:
        """Return whether a text is cached, or empty, so that it costs no pass of the model."""
        return not text or bool(self._cache.get([self._key(text)]))

    def _key(self, text: str) -> str:
        """Return the cache key of a text's vector; empty for an empty text."""
        digest = content_digest(text)
        return digest and self._adapter_digest + digest

    def _encode_missing(self, texts: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
        """Encode texts, those of one length together; both by digest."""
        vectors: dict[str, NDArray[np.float32]] = {}
        for by_digest in self._groups(texts):
            vectors |= zip(by_digest, self._encode_tokens(list(by_digest.values())), strict=True)
        return vectors

    def _groups(self, texts: Mapping[str, str]) -> Iterator[dict[str, Tokens]]:
        """Yield the tokens of texts by digest, those of one length together."""
        by_length: dict[int, list[tuple[str, Tokens]]] = {}
        for digest, text in texts.items():
            tokens = self._tokenize(text)
            by_length.setdefault(tokens["input_ids"].shape[1], []).append((digest, tokens))
        together = TOGETHER if self.device.type == "cpu" else STORE_EVERY
        for group in by_length.values():
            yield from (dict(group[start : start + together]) for start in range(0, len(group), together))

    def _tokenize(self, text: str) -> Tokens:
        tokens: Tokens = self.backbone.tokenizer(
            text, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        return tokens

    @torch.inference_mode()
    def _encode_tokens(self, texts: Sequence[Tokens]) -> NDArray[np.float32]:
        """Encode n texts with equal numbers of tokens to vectors ``[n, d]``."""
        least = -(-LEAST_TOKENS // texts[0]["input_ids"].shape[1])
        filled = [*texts, *[texts[0]] * (least - len(texts))]
        tokens = {name: torch.cat([text[name] for text in filled]).to(self.device) for name in texts[0]}
        hidden = self._model(**tokens).last_hidden_state[: len(texts)]
        vectors: NDArray[np.float32] = normalize(hidden.mean(dim=1), dim=1).float().cpu().numpy()
        return vectors

    def close(self) -> None:
        """Close the cache."""
        self._cache.close()
