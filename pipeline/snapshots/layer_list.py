"""The list of layers that a learner publishes: it grows by one with each version, and is kept short.

Layers of like size are merged, as in a log-structured merge tree (O'Neil et al. 1996): four of one size make
one of the next, so that n changes are in O(log n) layers, and each is written once a size. The first layer,
which has all rows, is never merged: it stays the same file as long as the list goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.clock import now_ms
from pipeline.errors import SnapshotCorrupt
from pipeline.snapshots.announcement import Seal
from pipeline.snapshots.codec import encode_layer, encode_own
from pipeline.snapshots.digest import StateDigest
from pipeline.snapshots.layer import Layer, merged
from pipeline.snapshots.snapshot import LayerFile, Manifest, Update
from pipeline.snapshots.store import SnapshotStore, digest_of
from pipeline.snapshots.version import Version

FAN_IN = 4
"""Layers of a size that are merged: fewer mean shorter lists, and more writing."""
MOST_LAYERS = 64
"""They are fewer unless the store refuses manifests, or the log announcements, many times in a row."""
SMALLEST_BYTES = 2**14
"""Layers that are smaller are of one size."""

log = logging.getLogger(__name__)


class LayerList:
    """The layers of a generation that are stored, the digest of their state, and what waits to be stored."""

    def __init__(self) -> None:
        self._files: tuple[LayerFile, ...] = ()
        self._digest = StateDigest()
        self._waiting: list[Layer] = []
        self._generation: int | None = None

    def begins_anew(self, generation: int) -> bool:
        """Whether the next update must be whole."""
        return self._generation != generation or len(self._files) > MOST_LAYERS

    def add(self, update: Update) -> None:
        """Add what was captured: the next layer that is stored has it, whatever becomes of this update."""
        if update.is_whole:
            self._begin(Version.parse(update.manifest.version).generation)
        self._waiting += update.layers

    def store(self, update: Update, store: SnapshotStore, parent: str | None = None) -> tuple[Manifest, Seal]:
        """Store the version of the update that was added last.

        Raises:
            OSError: the store refused it; what was added is in the next version.
        """
        self._write_layer(update, store)
        files = encode_own(update)
        manifest = update.manifest.model_copy(
            update={
                "kind": "full" if len(self._files) == 1 else "delta",
                "parent": parent,
                "digest": self._digest.of(update),
                "files": {name: digest_of(content) for name, content in files.items()},
                "layers": self._files,
                "published_at": now_ms(),
            }
        )
        return manifest, store.publish(manifest, files)

    def shorten(self, store: SnapshotStore) -> None:
        """Merge layers of like size; where one cannot be read, the next update begins another list."""
        try:
            while count := mergeable([file.size for file in self._files]):
                old = self._files[-count:]
                content = encode_layer(merged([store.layer(file) for file in old]))
                new = store.put_layer(content, old[0].after, old[-1].through)
                self._files = (*self._files[:-count], new)
        except SnapshotCorrupt as error:
            log.error("%s; the next snapshot is a full one", error)
            self._begin(None)
        except OSError as error:
            log.warning("layers are not merged: %s", error)

    def _write_layer(self, update: Update, store: SnapshotStore) -> None:
        """Store what was added as one layer, which reaches to the version of the update.

        Where the store has the layer of this version and refused its manifest, nothing was learned since.
        """
        step = Version.parse(update.manifest.version).step
        if self._files and self._files[-1].through == step:
            self._waiting = []
            return
        if not self._files:
            store.sweep()
        if len(self._waiting) > 1:
            self._waiting = [merged(self._waiting)]
        (layer,) = self._waiting
        after = self._files[-1].through if self._files else None
        file = store.put_layer(encode_layer(layer), after, step)
        self._digest.update(layer, update.manifest.rows)
        self._files, self._waiting = (*self._files, file), []

    def _begin(self, generation: int | None) -> None:
        self._files, self._digest, self._waiting = (), StateDigest(), []
        self._generation = generation


def store_whole(update: Update, store: SnapshotStore) -> None:
    """Store a version that begins a list of layers and is not published."""
    layers = LayerList()
    layers.add(update)
    layers.store(update, store)


def mergeable(sizes: Sequence[int]) -> int:
    """Return how many of the newest layers to merge, given their sizes in bytes, oldest first; 0 for none.

    >>> mergeable([90_000, 90_000, 20_000, 20_000, 20_000, 20_000])
    4
    >>> mergeable([1_000, 1_000, 1_000, 1_000])
    0
    """
    count, newest = 0, _level(sizes[-1])
    while count + 1 < len(sizes) and _level(sizes[-1 - count]) <= newest:
        count += 1
    return count if count >= FAN_IN else 0


def _level(size: int) -> int:
    """The logarithm of a size to the base `FAN_IN`."""
    return ((size // SMALLEST_BYTES).bit_length() + 1) // 2
