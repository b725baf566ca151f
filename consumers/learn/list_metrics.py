"""Metrics of the lists that the mixture makes for a sample of the users."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice

from pipeline import metrics
from pipeline.evaluation.item_groups import groups_of, without_group
from pipeline.evaluation.lists import ListQuality, Lists, computed
from pipeline.state.stream import StreamState

log = logging.getLogger(__name__)

MOST_GROUPS = 20
"""Groups with a series of their own: an attribute may have any number of values."""
OTHER = "other"
LEAST_ITEMS = 100
"""Items that must be known before a missing attribute is a mistake in the settings."""


class ListMetrics:
    """Figures of lists, and shares of groups of items by an attribute, if it is not None.

    An attribute that no item has is logged once.
    """

    def __init__(self, group: str | None) -> None:
        self._group, self._is_odd = group, False
        self._quality = ListQuality()

    def add(self, lists: Lists, stream: StreamState) -> None:
        """Add the lists of a batch; measure once there are enough new ones."""
        self._quality.add(lists)
        if not self._quality.is_due(len(stream.catalogue)):
            return
        for figure, value in computed(self._quality.update(stream.acts, stream.head.least)).items():
            metrics.LIST_QUALITY.labels(figure).set(value)
        if self._group is not None:
            self._warn(without_group(stream.catalogue, self._group, LEAST_ITEMS))
            _measure_groups(self._quality.by_group(groups_of(stream.catalogue, self._group)))

    def _warn(self, warning: str | None) -> None:
        if warning and not self._is_odd:
            log.warning("%s", warning)
        self._is_odd = warning is not None


def _measure_groups(shares: Mapping[str, Mapping[str, float]]) -> None:
    """Set the shares of the first groups, and those of all others together; one that is gone has none."""
    metrics.GROUP_SHARE.clear()
    for group, share in islice(shares.items(), MOST_GROUPS):
        for kind, value in share.items():
            metrics.GROUP_SHARE.labels(group, kind).set(value)
    for share in islice(shares.values(), MOST_GROUPS, None):
        for kind, value in share.items():
            metrics.GROUP_SHARE.labels(OTHER, kind).inc(value)
