"""A learner of the settings is refused where the language model is smaller than they say."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.assembly import make_learner
from pipeline.config import Settings
from pipeline.errors import InvalidSettings


@pytest.mark.parametrize("table", ["learn", "retrain"])
def test_more_layers_than_the_language_model_has_are_refused(settings: Settings, table: str) -> None:
    config: Any = getattr(settings, table)
    changed = config.replace(sizes=config.sizes.replace(layers=50))
    with pytest.raises(InvalidSettings, match=rf"^{table}\.sizes\.layers = 50, but .* has \d: lower it"):
        make_learner(settings.model_copy(update={table: changed}))
