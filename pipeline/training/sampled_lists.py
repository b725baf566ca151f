"""The lists that the mixture makes for a sample of the users, for figures of lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.evaluation.lists import NO_ITEM, Lists, diversity
from pipeline.model.item_table import ItemTable
from pipeline.state.segments import Segment

HASH = 0x9E3779B97F4A7C15
"""See `pipeline.training.prequential`; the bits above are those of another choice."""
ONE_IN = 8
"""One user in so many has a list for each batch with an act of the user."""


def choose(segments: Sequence[Segment]) -> NDArray[np.bool_]:
    """Choose the targets ``[m]`` that lists are made for: the first of each user of the sample.

    By a hash of the user, so that it is the same users all the time.
    """
    sizes = np.array([one.targets.size for one in segments], dtype=np.int64)
    users = np.array([one.user for one in segments], dtype=np.int64).astype(np.uint64)
    is_chosen = ((users * np.uint64(HASH)) >> np.uint64(40)) % np.uint64(ONE_IN) == 0
    chosen = np.zeros(sizes.sum(), dtype=np.bool_)
    chosen[(sizes.cumsum() - sizes)[is_chosen & (sizes > 0)]] = True
    return chosen


def lists_of(
    rows: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    segments: Sequence[Segment],
    targets: Tensor,
    table: ItemTable,
) -> Lists:
    """Describe lists of catalogue rows ``[s, k]`` that were made for the chosen of the segments' m targets.

    `targets` ``[m]`` are their catalogue rows.
    """
    users = np.repeat([one.user for one in segments], [one.targets.size for one in segments])
    diversities = diversity(content_of(rows, table)) if table.has_content else np.full(len(rows), np.nan)
    return Lists(users[chosen], rows, diversities, targets.cpu().numpy()[chosen])


def content_of(lists: NDArray[np.int64], table: ItemTable) -> NDArray[np.float32]:
    """Return the content ``[s, k, d]`` of catalogue rows ``[s, k]``; zeros in places without an item."""
    content = table.all().text
    rows = torch.from_numpy(np.maximum(lists, 0)).to(content.device)
    vectors: NDArray[np.float32] = content[rows].float().cpu().numpy()
    vectors[lists == NO_ITEM] = 0
    return vectors
