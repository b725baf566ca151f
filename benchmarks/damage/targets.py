"""The cases: each damages one thing, lets its readers meet it, and judges what they did."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from random import Random

from benchmarks.damage.outcome import Judged, Outcome, Verdict, accepted, refused
from benchmarks.damage.sealed import (
    MANIFEST,
    Damaged,
    SealedFiles,
    broken_record,
    forged_record,
    kind_of,
    layer_name,
    store,
)
from benchmarks.damage.shop import Shop, announcement, as_version
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from pipeline.errors import SnapshotCorrupt
from pipeline.model.backbone import load_backbone
from pipeline.snapshots.announcement import Announcement, Seal
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.history_records import history_record, read_history_record
from pipeline.snapshots.version import Version


class SnapshotCases:
    """Snapshots and announcements: a loader and a running server meet each; after that, all is well again."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._backbone = load_backbone(shop.settings.model.backbone)

    def full(self, random: Random, is_forged: bool) -> Outcome:
        """Damage a full snapshot."""
        version = self._shop.next_version()
        files = as_version(self._shop.full, version)
        return self._case("full snapshot", version, files, random, is_forged)

    def delta(self, random: Random, is_forged: bool) -> Outcome:
        """Damage a delta."""
        version = self._shop.next_version()
        return self._case("delta", version, as_version(self._shop.delta, version), random, is_forged)

    def layer(self, random: Random, is_forged: bool) -> Outcome:
        """Damage the layer that a delta shares with the version before it."""
        version = self._shop.next_version()
        files = as_version(self._shop.delta, version)
        part = layer_name(files.manifest["layers"][0])
        return self._case("shared layer", version, files, random, is_forged, part)

    def announcement(self, random: Random, is_forged: bool) -> Outcome:
        """Damage the announcement of a good snapshot."""
        shop, version = self._shop, self._shop.next_version()
        files = as_version(shop.full, version)
        good = announcement(version, files)
        wire, damage = (forged_record if is_forged else broken_record)(good.encode(), random)
        store(shop.folder(version), files.files, shop.bait)
        place = shop.announce(wire)
        readiness = shop.settle()
        if readiness["snapshot"] == version:
            shop.served = version
            judged = accepted(_same_announcement(wire, good), is_forged, "served")
        else:
            judged = self._refused(readiness, place, wire)
        shop.publish_good()
        shutil.rmtree(shop.folder(version))
        return Outcome("announcement", damage, is_forged, *judged)

    def _refused(self, readiness: dict[str, object], place: str, wire: bytes) -> Judged:
        """Judge a refused announcement; the same bytes a second time are not refused a second time."""
        shop, lines = self._shop, self._shop.lines.take()
        try:
            name = f"snapshot {Announcement.decode(wire).version}"
        except (ValueError, TypeError):
            name = place
        if readiness["snapshot"] != shop.served:
            return Verdict.FINDING, f"{readiness['snapshot']} is served, not {shop.served}"
        return refused(f"{lines} {readiness['refused']}", name)

    def _case(
        self,
        target: str,
        version: str,
        files: SealedFiles,
        random: Random,
        is_forged: bool,
        part: str | None = None,
    ) -> Outcome:
        damaged = files.forged(random, part) if is_forged else files.broken(random, part)
        store(self._shop.folder(version), damaged.files, self._shop.bait)
        seal_of = SealedFiles({MANIFEST: _bytes(damaged)}, files.form, files.entry_of) if is_forged else files
        judged = self._announced(version, announcement(version, seal_of), is_forged)
        return Outcome(f"{target}: {kind_of(damaged.part)}", damaged.damage, is_forged, *judged)

    def _announced(self, version: str, announced: Announcement, is_forged: bool) -> Judged:
        """Let a loader read a version, and the server read its announcement; put things right again."""
        shop = self._shop
        shop.lines.take()
        loaded = self._load(version, announced.seal, is_forged)
        shop.announce(announced.encode())
        readiness = shop.settle()
        judged = self._as_served(loaded, readiness, version)
        shop.server.check_answer("ann")
        shop.restore_layers()
        if readiness["snapshot"] != shop.served:
            shop.publish_good()
        shutil.rmtree(shop.folder(version))
        return judged

    def _load(self, version: str, seal: Seal, is_forged: bool) -> Judged:
        store_ = self._shop.harness.store
        loader = SnapshotLoader(store_, self._backbone, self._shop.settings.model)
        try:
            loader.load(Version.parse(version), seal)
        except SnapshotCorrupt as error:
            return refused(str(error), f"snapshot {version}")
        found = store_.load(Version.parse(version))
        good = self._shop.full if found.manifest.kind == "full" else self._shop.delta
        is_equal = snapshot_digest(found) == good.manifest["digest"] and not is_forged
        return accepted(is_equal, is_forged, f"snapshot {version} was loaded")

    def _as_served(self, loaded: Judged, readiness: dict[str, object], version: str) -> Judged:
        """Compare what the server did with what a loader did; the server alone knows the log."""
        shop = self._shop
        if loaded[0] is Verdict.IN_BOUNDS and f"the log of snapshot {version}" in str(readiness["refused"]):
            loaded = Verdict.REFUSED, str(readiness["refused"])
        expected = shop.served if loaded[0] is Verdict.REFUSED else version
        if readiness["snapshot"] != expected:
            return Verdict.FINDING, f"{readiness['snapshot']} is served, not {expected}: {loaded[1]}"
        if loaded[0] is Verdict.REFUSED and version not in str(readiness["refused"]):
            return Verdict.FINDING, f"/readyz does not name it: {readiness['refused']}"
        return loaded


class HistoryCases:
    """Records of the histories topic: a reader meets each, and every server that starts later."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.users, self.refused = dict[str, bool](), 0
        stream = shop.candidate_state.histories
        self._wires = [history_record("someone", history, 7) for _, history in stream.items()]

    def record(self, random: Random, is_forged: bool) -> Outcome:
        """Damage a history."""
        shop, user = self._shop, f"user-{len(self.users)}"
        good = history_record(user, read_history_record("someone", random.choice(self._wires))[0], 7)
        change = forged_record(good, random, user) if is_forged else broken_record(good, random)
        wire, damage = change
        shop.harness.writer.append(shop.harness.topics.histories, user, wire)
        shop.harness.writer.flush()
        try:
            found = read_history_record(user, wire)
        except ValueError as error:
            self.users[user] = False
            return Outcome("history", damage, is_forged, *refused(str(error)))
        self.users[user] = True
        is_equal = history_record(user, *found) == good
        return Outcome("history", damage, is_forged, *accepted(is_equal, is_forged, user))


Case = Callable[[Random, bool], Outcome]


def _bytes(damaged: Damaged) -> bytes:
    content = damaged.files[MANIFEST]
    assert isinstance(content, bytes)
    return content


def _same_announcement(wire: bytes, good: Announcement) -> bool:
    return Announcement.decode(wire) == good
