"""An outcome's record says what was shown and what came of it, in bytes that depend on nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.state.join_state import ShownImpression
from pipeline.state.outcome_record import OutcomeRecord, outcome_record
from tests.support.impressions import impression


def test_a_record_is_read_as_it_was_written() -> None:
    drawn: dict[str, Any] = {"policy": "greedy", "policy_version": "1", "propensities": (1.0, 0.5), "pool": 0}
    shown = impression("a", "ann", arm="half", experiment="e", context={"k": 2}, **drawn)
    key, wire = outcome_record(ShownImpression.of(shown, 17)._replace(rewards=(0.0, 2.5)), "3-9")
    assert key == "a"
    assert OutcomeRecord.decode(wire) == OutcomeRecord(
        impression="a",
        user="ann",
        items=("mug", "cup"),
        rewards=(0.0, 2.5),
        shown_at=17,
        snapshot="1-1",
        closed_by="3-9",
        policy="greedy",
        policy_version="1",
        propensities=(1.0, 0.5),
        experiment="e",
        arm="half",
    )
    assert outcome_record(ShownImpression.of(shown, 17)._replace(rewards=(0.0, 2.5)), "3-9") == (key, wire)
    assert orjson.loads(wire)["v"] == 1


def test_what_the_impression_does_not_say_is_left_out() -> None:
    _, wire = outcome_record(ShownImpression.of(impression(), 17), "3-9")
    assert OutcomeRecord.decode(wire).propensities is None
    assert not {"policy", "propensities", "arm", "experiment"} & orjson.loads(wire).keys()


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"kind": "impression"}, {"items": []}, {"rewards": [None]}, {"closed_by": "new"}, {"more": 1}],
)
def test_other_records_are_none(change: dict[str, object]) -> None:
    _, wire = outcome_record(ShownImpression.of(impression(), 17), "3-9")
    with pytest.raises(ValueError, match=r".+"):
        OutcomeRecord.decode(orjson.dumps({**orjson.loads(wire), **change}))
