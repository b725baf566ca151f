"""A console over a shop with a published snapshot."""

from __future__ import annotations

import pytest

from tests.support.console_harness import ConsoleHarness
from tests.support.serve_harness import World


@pytest.fixture(scope="module")
def console(open_shop: World) -> ConsoleHarness:
    """Shared by tests that only read, or that add to the history."""
    return ConsoleHarness(open_shop)
