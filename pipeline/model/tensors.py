"""Selection of named tensors by prefix."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors whose names begin with a prefix, and remove the prefix."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
