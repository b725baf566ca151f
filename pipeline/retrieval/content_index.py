"""The nearest items by content, among those that are too many to be scanned.

Content never moves, so it is kept in an inverted file (Sivic & Zisserman 2003; faiss, Johnson et al. 2019): a
query looks into the lists of the centroids that are nearest to it. Centroids are content vectors of the
catalogue, and not means: they need no training, during which a learner would stand still, and are found
again after a restart, for a checkpoint keeps them. Measured on one core, 200,000 items of width 384 in 4,096
lists: 28 µs to add one, 28 ms for 256 queries, .13 ms for one; usearch's graph took 450 µs to add one.
"""

from __future__ import annotations

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.item_table import Rows
from pipeline.state.growing import GrowingArray

LISTS = 2_048
LEAST_ITEMS = 8
"""Items in a list at the beginning, on average."""
PROBES = 12
"""Lists that a query looks into."""
AT_ONCE = 2_048
"""Vectors that are added at a time; the products with all centroids take 16 MB."""
SAMPLED = 65_536
"""Contents, or up to twice as many, among which centroids are chosen."""
MARGIN = 32
"""Rows that are looked for beyond those wanted, so that equal products at the end are seen; where more are
equal, the query is asked again. Measured, 24 queries among 84,000 items of which 50 at a time have one text:
1.7 ms instead of the 3.3 ms with 4, which asks each query twice."""
NOTHING = -1


class ContentIndex:
    """An inverted file of content vectors, by catalogue row; 8 bits a number.

    Attributes:
        centroids: ``[c, d]``, distinct.
        lists: by row, the number of its centroid plus one; 0 for a row that is not found.
    """

    def __init__(self, centroids: NDArray[np.float32]) -> None:
        """Make an empty file with the given centroids."""
        self.centroids = centroids
        faiss.omp_set_num_threads(1)
        self._index = _empty_index(centroids)
        self._rows = GrowingArray[np.int64](np.int64)
        self._is_found = GrowingArray[np.bool_](np.bool_)
        self.lists = GrowingArray[np.int32](np.int32)
        self._places = GrowingArray[np.int64](np.int64)
        self._hidden = np.zeros(0, dtype=np.int64)
        self._found_bits: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Return the number of rows that it holds."""
        return self._rows.size

    def put(
        self,
        rows: NDArray[np.int64],
        content: NDArray[np.float32],
        lists: NDArray[np.int32] | None = None,
    ) -> None:
        """Add distinct rows ``[r]`` with content ``[r, d]``, or replace their content.

        Args:
            rows, content: what is put.
            lists: ``[r]`` as another file with these centroids has them. None to look for the nearest
                centroids, which takes 20 times as long as all else.
        """
        self.grow(int(rows.max(initial=-1)) + 1)
        if lists is None:
            _, nearest = self._index.quantizer.search(np.ascontiguousarray(content), 1)
            lists = (nearest[:, 0] + 1).astype(np.int32)
        slots, self.lists.values[rows] = self._slots_of(rows), lists
        known, new = np.flatnonzero(slots != NOTHING), np.flatnonzero(slots == NOTHING)
        if known.size:
            self._index.update_vectors(slots[known], np.ascontiguousarray(content[known]))
        if new.size:
            self._add(rows[new], np.ascontiguousarray(content[new]), lists[new])

    def put_from(self, table: Rows, rows: NDArray[np.int64], lists: NDArray[np.int32] | None = None) -> None:
        """Put those of distinct rows ``[r]`` of a table that have any content; leave out the others.

        `lists` are those of all rows of the table, as in `put`; a row without one is left out, too.
        """
        if lists is not None and not len(self):
            self._make_room(np.bincount(lists[rows], minlength=len(self.centroids) + 1)[1:])
        for start in range(0, rows.size, AT_ONCE):
            part = rows[start : start + AT_ONCE]
            content = table.content[torch.from_numpy(part).to(table.bias.device)].float().cpu()
            is_put = content.any(dim=1).numpy()
            known = None if lists is None else lists[part]
            is_put &= True if known is None else known > 0
            self.put(part[is_put], content.numpy()[is_put], None if known is None else known[is_put])
            self._leave_out(part[~is_put])

    def grow(self, size: int) -> None:
        """Have room for rows up to `size`."""
        for column in (self._places, self.lists):
            column.grow(max(size, column.size))

    def hide(self, rows: NDArray[np.int64]) -> None:
        """Find all rows but these from now on."""
        for changed, is_found in ((self._hidden, True), (rows, False)):
            slots = self._slots_of(changed[changed < self._places.size])
            self._is_found.values[slots[slots != NOTHING]] = is_found
        self._hidden, self._found_bits = rows, None

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return rows ``[m, k]`` of the largest products with queries ``[m, d]``; `NOTHING` for none.

        Of equal products, the first rows: what is found does not depend on when rows were put.
        """
        if self._found_bits is None:
            self._found_bits = np.packbits(self._is_found.values, bitorder="little")
        queries, rows = np.ascontiguousarray(queries), np.full((len(queries), count), NOTHING)
        near, lists = self._probed(queries)
        open_, more = np.arange(len(queries)), count + MARGIN
        while open_.size:
            products, slots = self._search_lists(queries[open_], near[open_], lists[open_], more)
            found = np.where(slots == NOTHING, NOTHING, self._rows.values[slots])
            order = np.lexsort((found, -products))[:, :count]
            rows[open_] = np.take_along_axis(found, order, axis=1)
            is_cut = (products[:, count - 1] == products[:, -1]) & (slots[:, -1] != NOTHING)
            open_, more = open_[is_cut], 2 * more
        return rows

    def _probed(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the lists ``[m, p]`` that queries ``[m, d]`` look into, after their products with centroids.

        faiss finds the same: measured, 64 queries take 6.8 ms there and 1.1 here, but one .15 and .21.
        """
        if len(queries) == 1:
            found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._index.quantizer.search(
                queries, min(PROBES, len(self.centroids))
            )
            return found
        products = torch.from_numpy(queries) @ torch.from_numpy(self.centroids).T
        best = products.topk(min(PROBES, len(self.centroids)), dim=1)
        return best.values.numpy(), best.indices.numpy()

    def _search_lists(
        self,
        queries: NDArray[np.float32],
        near: NDArray[np.float32],
        lists: NDArray[np.int64],
        count: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the largest products ``[m, count]`` of queries with what is in their lists, and the slots.

        `near` and `lists` are as `_probed` returns them.
        """
        selector = faiss.IDSelectorBitmap(self._found_bits)
        chosen = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=selector)
        products = np.empty((len(queries), count), dtype=np.float32)
        slots = np.empty(products.shape, dtype=np.int64)
        asked, *given = map(faiss.swig_ptr, (queries, lists, near, products, slots))
        self._index.search_preassigned_c(len(queries), asked, count, *given, False, chosen)
        return products, slots

    def _make_room(self, sizes: NDArray[np.int64]) -> None:
        """Have room for so many vectors in each list, which is empty.

        Without it they double as they grow, and leave gaps: 86 of the 532 MB of a million rows.
        """
        lists = faiss.downcast_InvertedLists(self._index.invlists)
        for size in (sizes, np.zeros_like(sizes)):
            for number in np.flatnonzero(sizes).tolist():
                lists.resize(number, int(size[number]))

    def _slots_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where rows are in the file; `NOTHING` for one that is not there."""
        return self._places.values[rows] + NOTHING

    def _leave_out(self, rows: NDArray[np.int64]) -> None:
        """Find rows no more, until they are put again; their vectors stay in the file."""
        rows = rows[rows < self._places.size]
        slots = self._slots_of(rows)
        self._is_found.values[slots[slots != NOTHING]] = False
        self._places.values[rows], self.lists.values[rows], self._found_bits = 0, 0, None

    def _add(self, rows: NDArray[np.int64], content: NDArray[np.float32], lists: NDArray[np.int32]) -> None:
        first, numbers = self._rows.size, lists.astype(np.int64) - 1
        self._index.add_core(rows.size, faiss.swig_ptr(content), None, faiss.swig_ptr(numbers))
        for column in (self._rows, self._is_found):
            column.grow(first + rows.size)
        self._rows.values[first:] = rows
        self._is_found.values[first:] = ~np.isin(rows, self._hidden)
        self._places.values[rows] = np.arange(first + 1, first + 1 + rows.size)
        self._found_bits = None


def choose_centroids(content: Tensor) -> NDArray[np.float32] | None:
    """Choose distinct vectors of ``[n, d]`` as centroids, evenly over the rows; None if all are zero."""
    some = content[:: max(1, len(content) // SAMPLED)]
    with_any = some[some.any(dim=1)].float().cpu().numpy()
    if not len(with_any):
        return None
    count = max(1, min(LISTS, len(with_any) // LEAST_ITEMS))
    chosen = with_any[np.linspace(0, len(with_any) - 1, count).astype(np.int64)]
    distinct: NDArray[np.float32] = np.unique(chosen, axis=0)
    return distinct


def _empty_index(centroids: NDArray[np.float32]) -> faiss.IndexIVFScalarQuantizer:
    count, width = centroids.shape
    lists = faiss.IndexFlatIP(width)
    lists.add(centroids)
    index = faiss.IndexIVFScalarQuantizer(
        lists, width, count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    index.train(centroids)  # the ranges of the numbers only: there are centroids already
    index.set_direct_map_type(faiss.DirectMap.Array)  # so that vectors can be replaced
    return index
