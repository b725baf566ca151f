"""The bound on rules holds for writers at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import InvalidSettings
from pipeline.rules.rule import MAX_RULES
from pipeline.rules.store import RuleStore
from tests.support.gateway_harness import TOPICS, GatewayHarness
from tests.support.rules import rule


def test_many_writers_at_once_put_no_rule_too_many(tmp_path: Path) -> None:
    with GatewayHarness(tmp_path) as gateway:
        store = RuleStore(gateway.log, TOPICS.rules)
        store.put(rule(f"r{number}", "cap", most=1) for number in range(MAX_RULES - 5))

        def is_put(number: int) -> bool:
            try:
                store.put([rule(f"late-{number}", "cap", most=1)])
            except InvalidSettings:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(is_put, range(24))) == 5
        assert len(store.all()) == MAX_RULES
