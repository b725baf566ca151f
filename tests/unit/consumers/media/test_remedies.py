"""Every reason of a refusal has a remedy, and the settings that remedies name are there."""

from __future__ import annotations

import re

import pytest

from consumers.media.remedies import REMEDIES
from pipeline.config import MediaConfig
from pipeline.errors import MediaReason


@pytest.mark.parametrize("reason", MediaReason)
def test_each_reason_has_a_remedy_that_names_what_there_is(reason: MediaReason) -> None:
    named = re.findall(r"`media\.(\w+)`", REMEDIES[reason])
    assert all(name in MediaConfig.model_fields for name in named)


def test_remedies_tell_what_is_forbidden_from_what_is_broken() -> None:
    assert "`media.hosts`" in REMEDIES[MediaReason.HOST]
    assert "`media.private_addresses`" in REMEDIES[MediaReason.ADDRESS]
    assert "`media.fetch_seconds`" in REMEDIES[MediaReason.TOO_SLOW]
    assert not any("`media." in REMEDIES[one] for one in (MediaReason.DAMAGED, MediaReason.EMPTY))
