"""Encode texts to frozen content vectors: mean-pooled, normalised hidden states of the backbone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from pipeline.model.backbone import Backbone
from pipeline.model.content.adapter import NO_ADAPTER, Adapter, adapter_digest, with_adapter
from pipeline.model.content.cache import ContentCache
from pipeline.state.catalogue import content_digest

STORE_EVERY = 256


class TextEncoder:
    """Encodes each text once per digest and caches the vector on disk.

    On a CPU each text is encoded alone: measured, this is as fast as padded batches for titles.
    The bits of a vector then do not depend on the rest of a batch, as a rebuild from the journal
    requires.

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
        """Encode texts to unit vectors, shape ``[len(texts), d]``; zero for an empty text."""
        digests = [self._key(text) for text in texts]
        known = self._cache.get(digests)
        missing = {d: text for d, text in zip(digests, texts, strict=True) if d and d not in known}
        fresh: dict[str, NDArray[np.float32]] = {}
        for number, (digest, text) in enumerate(missing.items(), start=1):
            fresh[digest] = self._encode_one(text)
            if number % STORE_EVERY == 0 or number == len(missing):
                self._cache.put(fresh)
                known |= fresh
                fresh = {}
        zero = np.zeros(self.width, dtype=np.float32)
        vectors = [known.get(digest, zero) for digest in digests]
        return np.stack(vectors) if vectors else np.zeros((0, self.width), dtype=np.float32)

    def _key(self, text: str) -> str:
        """Return the cache key of a text's vector; empty for an empty text."""
        digest = content_digest(text)
        return digest and self._adapter_digest + digest

    @torch.inference_mode()
    def _encode_one(self, text: str) -> NDArray[np.float32]:
        tokens = self.backbone.tokenizer(
            text, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        hidden = self._model(**tokens.to(self.device)).last_hidden_state[0]
        vector: NDArray[np.float32] = normalize(hidden.mean(dim=0), dim=0).float().cpu().numpy()
        return vector

    def close(self) -> None:
        """Close the cache."""
        self._cache.close()
