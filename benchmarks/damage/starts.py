"""Starts after damage: a server comes up with the newest good snapshot, a learner with its state."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from threading import Event

from benchmarks.damage.learning import damage_checkpoint
from benchmarks.damage.outcome import Judged, Outcome, Verdict, refused
from benchmarks.damage.sealed import broken_record, forged_record
from benchmarks.damage.shop import Server, Shop
from benchmarks.damage.targets import HistoryCases
from consumers.learn.daemon import LearnDaemon
from pipeline.assembly import checkpoints_of
from pipeline.config import Settings
from pipeline.errors import MillstreamError
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from tests.support.damage import damage_row
from tests.support.model_harness import PREFIX, USERS, tiny_settings

TURNS = 6
"""Turns of a learner after its recovery, in which it reads the control topic."""


class Turns(Event):
    """A stop that is set after so many questions."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self._left = turns

    def is_set(self) -> bool:
        """Count a question."""
        self._left -= 1
        return self._left < 0


class StartCases:
    """Starts on copies of the shop as it was before the first case, and of servers on the shop as it is."""

    def __init__(self, shop: Shop, histories: HistoryCases) -> None:
        self._shop, self._histories = shop, histories
        self._number = 0
        self._good = self._learned(self._copy())
        self._newest = max(self._good)

    def server(self, random: Random, is_forged: bool) -> Outcome:
        """Start a server after whatever was damaged so far; ask it for users with damaged histories, too."""
        del is_forged
        shop = self._shop
        shop.publish_good()
        shop.lines.take()
        fresh = Server(shop.settings, shop.threads)
        try:
            readiness = fresh.json("/readyz")
            asked = [user for user, is_read in self._histories.users.items() if is_read]
            for user in [*USERS, *random.sample(asked, min(10, len(asked)))]:
                fresh.json(f"/v1/users/{user}/recommendations")
            fresh.check_answer("ann")
        finally:
            fresh.close()
        lines = shop.lines.take()
        counted = lines.count("this user's history begins empty")
        expected = sum(not is_read for is_read in self._histories.users.values())
        judged = Verdict.EQUAL, f"{readiness['snapshot']}"
        if (readiness["snapshot"], counted) != (shop.served, expected):
            judged = Verdict.FINDING, f"{readiness}, {counted} of {expected} histories refused"
        return Outcome("start of a server", "all so far", False, *judged)

    def newest_checkpoint(self, random: Random, is_forged: bool) -> Outcome:
        """Start a learner on a damaged newest checkpoint."""
        return self._checkpoints("newest", 1, random, is_forged)

    def all_checkpoints(self, random: Random, is_forged: bool) -> Outcome:
        """Start a learner on damaged checkpoints only: it learns the journal from its beginning."""
        return self._checkpoints("all", 99, random, is_forged)

    def journal(self, random: Random, is_forged: bool) -> Outcome:
        """Start a learner on a damaged journal."""
        settings = self._copy()
        record = random.choice(self._shop.harness.records(self._shop.harness.topics.journal))
        assert record.value is not None
        wire, damage = (forged_record if is_forged else broken_record)(record.value, random)
        path = Path(settings.log.url.removeprefix("sqlite:///"))
        damage_row(path, record.topic, record.partition, record.offset, f"value = x'{wire.hex()}'")
        judged = self._started(settings, is_forged, f"{record.topic}/0/{record.offset}")
        return Outcome("start of a learner: journal", damage, is_forged, *judged)

    def _checkpoints(self, name: str, most: int, random: Random, is_forged: bool) -> Outcome:
        settings, damage = self._copy(), ""
        folder = settings.checkpoints.folder / PREFIX
        for path in sorted(folder.glob("1-*"))[-most:]:
            damage = damage_checkpoint(self._shop, path, random, is_forged).damage
        judged = self._started(settings, is_forged, "checkpoint")
        return Outcome(f"start of a learner: {name} checkpoints", damage, is_forged, *judged)

    def _started(self, settings: Settings, is_forged: bool, name: str) -> Judged:
        """Start a learner; it must come to the state that it had, or stop and name the cause."""
        try:
            found = self._learned(settings)
        except MillstreamError as error:
            verdict, text = refused(str(error), name)
            return (Verdict.STOPPED if verdict is Verdict.REFUSED or is_forged else verdict), text
        finally:
            shutil.rmtree(settings.checkpoints.folder.parent)
        if found.get(self._newest) == self._good[self._newest]:
            return Verdict.EQUAL, "the state that it had"
        return (Verdict.IN_BOUNDS if is_forged else Verdict.FINDING), f"{list(found)[-1:]} with other bits"

    def _copy(self) -> Settings:
        self._number += 1
        folder = self._shop.base.with_name(f"copy-{self._number}")
        shutil.copytree(self._shop.base, folder, symlinks=True)
        return tiny_settings(folder, Path(self._shop.settings.model.backbone))

    def _learned(self, settings: Settings) -> dict[str, str]:
        """Start a learner, let it recover and stop; return the digests of its checkpoints."""
        event_log = open_log(settings.log.url)
        try:
            LearnDaemon(settings, event_log, Topics(PREFIX), Turns(TURNS)).learn()
        finally:
            event_log.close()
        return checkpoints_of(settings).digests()
