"""Damage in a short form: `python -m benchmarks.damage` runs thousands of cases, this test some hundred."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load, save

from benchmarks.damage.__main__ import run
from benchmarks.damage.changes import DAMAGES, hostile_json, hostile_tensors
from benchmarks.damage.outcome import Verdict
from benchmarks.damage.watch import Watch


def test_nothing_that_was_damaged_or_forged_is_believed_and_nobody_ends(tmp_path: Path) -> None:
    found = run(tmp_path, cases=120, seed=7)
    assert found.findings == []
    assert found.answers > 0
    assert len({outcome.target for outcome in found.outcomes}) > 12
    refused = [outcome for outcome in found.outcomes if outcome.verdict is Verdict.REFUSED]
    assert len(refused) > 90


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_changes_bytes_and_is_the_same_each_time(name: str) -> None:
    content = bytes(range(256))
    assert DAMAGES[name](content, Random(1)) == DAMAGES[name](content, Random(1)) != content


def test_hostile_values_of_every_kind_reach_a_text_and_what_is_nested_in_it() -> None:
    content = b'{"step":3,"items":{"red":"00"},"acts":[["red",1]],"inner":"{\\"offset\\":1}"}'
    changed = [hostile_json(content, Random(seed)) for seed in range(500)]
    assert content not in changed
    for kept in (b'"step":3', b'"red":"00"', b'["red",1]', b'offset\\":1'):
        assert any(kept not in wire for wire in changed)
    for value in (b"NaN", b"-Infinity", b"../../outside", b"[[[[[[", b"xxxxxx", b"1000000000000", b"unknown"):
        assert any(value in wire for wire in changed)


def test_hostile_tensors_change_values_claims_and_names() -> None:
    content = save({"weights": torch.ones(3), "rows": torch.arange(3)})
    changed = {hostile_tensors(content, Random(seed)) for seed in range(60)}
    assert content not in changed and len(changed) > 30
    readable = [load(wire) for wire in changed if wire[:8] == content[:8]]
    assert any(not torch.isfinite(tensors["weights"]).all() for tensors in readable if "weights" in tensors)


def test_a_file_that_is_written_outside_or_read_near_the_bait_is_seen(tmp_path: Path) -> None:
    shop, outside = tmp_path / "shop", tmp_path / "outside"
    for folder in (shop, outside):
        folder.mkdir()
    (outside / "bait.json").write_text("{}")
    watch = Watch(shop, outside / "bait.json")
    (shop / "own").write_text("")
    (tmp_path / "stray").write_text("")
    (outside / "bait.json").read_text()
    os.rename(shop / "own", shop / "renamed")  # noqa: PTH104 (the event is what is tested)
    (shop / "renamed").unlink()
    assert watch.end() == sorted([f"open {outside}/bait.json", f"open {tmp_path}/stray"])
    assert watch.end() == watch.end()
