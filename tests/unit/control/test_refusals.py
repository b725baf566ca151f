"""Orders that were refused are found among all that the control topic has."""

from __future__ import annotations

from pipeline.control.records import Pause, Refusal
from pipeline.control.refusals import refused_orders
from tests.support.model_harness import ModelHarness


def test_the_orders_of_refusals_are_read_and_nothing_else(harness: ModelHarness) -> None:
    log, control = harness.log, harness.topics.control
    pause = Pause(ordered_at=5, reason="by hand")
    refusals = [Refusal(order=order, reason="unknown") for order in ("rollback-1-2-7", "rollback-9-9-8")]
    assert refused_orders(log, harness.topics) == set()
    with log.writer() as writer:
        for record in (pause, *refusals):
            writer.append(control, record.key, record.encode())
        writer.append(control, "torn", refusals[0].encode()[:-9])
        writer.append(control, "gone", None)
        writer.flush()
    assert refused_orders(log, harness.topics) == {"rollback-1-2-7", "rollback-9-9-8"}
