"""Rehearsals on a real broker: none while records wait, and the same again from the journal."""

from __future__ import annotations

from pathlib import Path

from tests.support.model_harness import BATCH, ModelHarness, tiny_settings
from tests.support.tiny_backbone import tiny_backbone

PATIENCE_SECONDS = 5.0
ACTS, OWED = 3 * BATCH, 3


def test_what_waits_goes_first_and_a_rebuild_is_the_same(kafka_url: str, prefix: str, tmp_path: Path) -> None:
    """However a broker's answers cut the batches."""
    settings = tiny_settings(tmp_path, tiny_backbone(tmp_path / "backbone"))
    log = settings.log.replace(url=kafka_url, prefix=prefix)
    batch = settings.batch.replace(rehearse_events=BATCH, wait_seconds=PATIENCE_SECONDS)
    with ModelHarness(settings.model_copy(update={"log": log, "batch": batch})) as harness:
        harness.stock()
        harness.shop(ACTS)
        learned_before = list[int]()
        with harness.learning() as learning:
            while len(learned_before) < OWED:
                learning.turns(1)
                if learning.learned[-1].micro.rehearses:
                    learned_before.append(learning.learner.stream.events)
        assert min(learned_before) >= ACTS - BATCH // 4
        assert harness.rebuilt().digest == learning.digest()
