"""A backbone's figures, in a short form: those of the tiny ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.backbones import Run, run
from tests.support.tiny_gguf import tiny_gguf

SHOP = "shop:seed=0,events=600"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> list[Run]:
    folder = tmp_path_factory.mktemp("backbones")
    names = [backbone_folder, tiny_gguf(folder / "gguf").parent]
    return [run(str(name), SHOP, 600, 0, folder / "cache") for name in names]


def test_each_backbone_is_scored_on_the_same_targets(runs: list[Run]) -> None:
    targets = [one.quality["mixture"]["all"]["n"] for one in runs]
    assert targets[0] == targets[1] and (targets[0] or 0) > 200
    losses = [one.quality["model"]["all"]["log_loss"] for one in runs]
    assert losses[0] != losses[1]
    assert runs[0].quality["popularity"] == runs[1].quality["popularity"], "no scorer that reads no text"


def test_a_snapshot_holds_the_content_of_the_catalogue(runs: list[Run]) -> None:
    assert all(one.width == 32 and one.snapshot_mib > 0.05 for one in runs)
    assert all(one.title_ms > 0 and one.events_per_second > 0 and one.own_mib > 0 for one in runs)
