"""Which scanned items have texts like those of a user's latest items: found once for each item, and kept.

The likeness of texts (see `pipeline.model.likeness`) is a part of the mixture that many items have, and that
is no product of a user and an item. But texts hardly ever change. So the scanned items that are most alike to
an item are searched when it is asked for first, and again when a text that is alike comes, goes or changes:
what is found is a function of the texts, whenever it is found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from pipeline.model.item_table import Rows
from pipeline.model.likeness import LEAST, NEARNESS, NO_ITEM, likeness_of, texts_of
from pipeline.retrieval.rounded_vectors import (
    NOWHERE,
    RoundedVectors,
    best_of,
    in_groups,
    kernel_size,
)
from pipeline.state.growing import distinct, reaching

MOST_SLOTS = 64
"""Slots kept of an item. Three in four titles of Online Retail have fewer that are alike at all."""
MOST_ITEMS = 8_192
"""Items whose slots are kept, in 22 MB."""
MOST_CHANGED = 1_024
"""Slots that may change at a time; where more do, what is kept is forgotten without a look."""
AT_ONCE = 64
"""Items that are searched for at a time: their cosines with 16,384 rows take 4 MB."""
LEAST_ROUNDED = LEAST - 0.05
"""Cosine of rounded texts above which the exact one is computed."""
UNKNOWN = 0
"""The entry of an item for which nothing is kept."""


class AlikeFound(NamedTuple):
    """What is alike to the latest items of m targets.

    Attributes:
        slots: ``[m, k]``; one may recur.
        likeness: ``[m, k]`` of the item at the slot to one of the latest; zero of what pads them.
        left_out: ``[m]`` what a likeness that is not among these does not exceed.
    """

    slots: Tensor
    likeness: Tensor
    left_out: Tensor


class AlikeSlots:
    """The slots that are most alike to items, by the items' catalogue rows."""

    def __init__(self, content: RoundedVectors, width: int) -> None:
        """Keep nothing yet; `content` are the vectors at the slots, beginning with texts of a `width`."""
        self._content = content
        device, size = content.codes.device, MOST_ITEMS + 1
        self._texts = torch.zeros(size, width, device=device)
        self._asked = RoundedVectors(content.codes.shape[1], device)
        self._asked.grow(size)
        self._floors = torch.zeros(size, device=device)
        self._slots = torch.zeros(size, MOST_SLOTS, dtype=torch.int64, device=device)
        self._cosines = torch.zeros(size, MOST_SLOTS, device=device)
        self._entries, self._rows = np.zeros(0, dtype=np.int64), np.zeros(size, dtype=np.int64)
        self._end = UNKNOWN + 1

    def forget_all(self) -> None:
        """Keep nothing any more."""
        self._entries, self._end = np.zeros_like(self._entries), UNKNOWN + 1

    def forget_alike(self, slots: Tensor) -> None:
        """Search again for the items to which what is at some slots is alike; before and after it changes."""
        if len(slots) > MOST_CHANGED:
            self.forget_all()
            return
        kept = slice(UNKNOWN + 1, self._end)
        cosines = self._cosines_of(kept, slots)
        is_changed = (cosines >= self._floors[kept].unsqueeze(1)).any(dim=1).cpu().numpy()
        self._entries[self._rows[kept][is_changed]] = UNKNOWN

    def find(
        self,
        latest: NDArray[np.int64],
        items: Rows,
        scanned: NDArray[np.int64],
        slots: NDArray[np.int64],
    ) -> AlikeFound:
        """Find what is alike to the latest items of m targets: `MOST_ITEMS` different ones at most.

        Args:
            latest: ``[m, len(NEARNESS)]`` rows of the items acted on last, the last one first; `NO_ITEM` of
                none.
            items: all rows of the catalogue.
            scanned: ``[r]`` the rows at the first slots; nothing is found at others.
            slots: by row, its slot; `NOWHERE` if it is not scanned.
        """
        is_item, known = latest != NO_ITEM, np.full_like(latest, UNKNOWN)
        if is_item.any():
            self._make_known(distinct(latest[is_item]), items, scanned, slots)
            known[is_item] = self._entries[latest[is_item]]
        entries = torch.from_numpy(known).to(self._slots.device)
        nearness = self._cosines.new_tensor(NEARNESS)
        lengths, errors = self._asked.lengths[entries], self._asked.errors[entries]
        floors = self._floors[entries] + self._content.most_error(lengths, errors, scanned.size)
        return AlikeFound(
            self._slots[entries].flatten(1),
            likeness_of(self._cosines[entries] * nearness.unsqueeze(1)).flatten(1),
            likeness_of((floors * nearness).amax(dim=1)),
        )

    def _make_known(
        self,
        rows: NDArray[np.int64],
        items: Rows,
        scanned: NDArray[np.int64],
        slots: NDArray[np.int64],
    ) -> None:
        """Search for those of the items at rows ``[a]`` for which nothing is kept, or for another text."""
        self._entries = reaching(self._entries, len(items.bias), UNKNOWN)
        if self._end + rows.size > len(self._rows):
            self.forget_all()
        texts = texts_of(torch.from_numpy(rows).to(self._slots.device), items)
        entries = torch.from_numpy(self._entries[rows]).to(texts.device)
        is_known = (entries != UNKNOWN) & (self._texts[entries] == texts).all(dim=1)
        unknown = np.flatnonzero(~is_known.cpu().numpy())
        for start in range(0, unknown.size, AT_ONCE):
            some = unknown[start : start + AT_ONCE]
            self._search(rows[some], texts[torch.from_numpy(some)], items, scanned, slots[rows[some]])

    def _search(
        self,
        rows: NDArray[np.int64],
        texts: Tensor,
        items: Rows,
        scanned: NDArray[np.int64],
        own: NDArray[np.int64],
    ) -> None:
        """Search for the items at rows ``[a]`` with texts ``[a, d]`` and slots `own`; keep what is found."""
        kept, width = slice(self._end, self._end + rows.size), self._content.codes.shape[1]
        self._end, self._rows[kept], self._entries[rows] = kept.stop, rows, np.arange(kept.start, kept.stop)
        self._texts[kept] = texts
        self._asked.put(kept, pad(texts, (0, width - texts.shape[1])))
        padded = slice(kept.start, kept.start + kernel_size(rows.size))
        cosines = self._cosines_of(padded, slice(0, in_groups(scanned.size)))[: rows.size]
        cosines[:, scanned.size :] = 0
        is_scanned = own != NOWHERE
        cosines[np.flatnonzero(is_scanned), own[is_scanned]] = 0
        best, slots = best_of(cosines, MOST_SLOTS + 1)
        # Of those that are as alike as the best that is left out, none is kept: it would be chance which.
        left_out = best.amin(dim=1) if best.shape[1] > MOST_SLOTS else best.new_zeros(len(best))
        self._floors[kept] = left_out.clamp_(min=LEAST_ROUNDED)
        is_kept = best > self._floors[kept].unsqueeze(1)
        number, place = is_kept.nonzero(as_tuple=True)
        found = torch.from_numpy(scanned).to(texts.device)[slots[number, place]]
        exact = (texts[number] * texts_of(found, items)).sum(dim=1)
        into, at = number + kept.start, is_kept.cumsum(dim=1)[number, place] - 1
        self._slots[kept], self._cosines[kept] = 0, 0
        self._slots[into, at], self._cosines[into, at] = slots[number, place], exact

    def _cosines_of(self, kept: slice, slots: Tensor | slice) -> Tensor:
        """Return the cosines ``[a, s]`` of rounded texts with what is at slots ``[s]``."""
        found = self._content.products(self._asked.codes[kept], slots)
        return found.mul_(self._asked.scales[kept].unsqueeze(1))
