"""What learns and what is frozen, as one list that a learner logs when it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import Tensor, nn

from pipeline.model.recommender import Recommender

GROUPS = {
    "tower.layers.": "layers that read histories",
    "tower.of_": "types, values and gaps of acts",
    "tower.projection": "projection of users",
    "adapter_": "adapter of items",
    "fusion.": "maps of modalities",
    "introduction.": "attributes of users",
    "log_scale": "scale of scores",
}
"""Groups of weights by what their names begin with."""


def weight_groups(recommender: Recommender, encoder: nn.Module) -> str:
    """Name the groups of weights that learn by gradient and those that are frozen, with their numbers.

    The rows of items, of which there are ever more, learn too.
    """
    named = list(recommender.named_parameters())
    learned = _counted((name, part) for name, part in named if part.requires_grad)
    frozen = _counted((name, part) for name, part in named if not part.requires_grad)
    texts = sum(part.numel() for part in encoder.parameters())
    return (
        f"by gradient learn ({recommender.tower.tuning}): {_listed(learned)}, and rows of items; "
        f"frozen are: {_listed(frozen | {'encoder of texts': texts})}"
    )


def _counted(parts: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    counts = Counter[str]()
    for name, part in parts:
        counts[next((group for begin, group in GROUPS.items() if name.startswith(begin)), name)] += (
            part.numel()
        )
    return dict(counts)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{group} {count:,}" for group, count in counts.items())
