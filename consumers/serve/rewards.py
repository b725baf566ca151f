"""Rewards: what came of an answer, appended to the log as an act of its user.

A reward names the impression. It is durable when the request is answered. Sent again, it is the same event:
its id follows from that of the impression, and its time is when the items were shown.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from pipeline.errors import DeliveryError, LogUnavailable, MillstreamError
from pipeline.eventlog.port import EventLog, LogWriter
from pipeline.events import Interaction, InteractionType, encode
from pipeline.state.rewards import reward_id

REWARDED, NOT_REWARDED = InteractionType.CLICK, InteractionType.SKIP
"""The types of an act with a reward above zero, and with none."""


MOST_REWARDS = 100_000
"""That a server remembers, to tell one that is sent again from another one."""


class UnknownImpression(MillstreamError):
    """No impression of this id is remembered."""


class NotShown(MillstreamError):
    """The item of a reward was not in the answer."""


class RewardCollision(MillstreamError):
    """The answer has another reward already."""


def reward_event(impression: str, user: str, item: str, reward: float, time: int) -> Interaction:
    """Make the act of a reward for what was shown at a time in ms.

    >>> reward_event("5f0c", "ann", "mug", 1.0, 1_790_000_000_000).event_id
    'reward-5f0c'
    """
    return Interaction(
        event_id=reward_id(impression),
        user=user,
        item=item,
        type=REWARDED if reward > 0 else NOT_REWARDED,
        time=time,
        value=reward,
        impression=impression,
    )


class RewardWriter:
    """Appends rewards, one at a time, and waits until each is durable; thread-safe."""

    def __init__(self, event_log: EventLog, topic: str) -> None:
        self._log = event_log
        self._topic = topic
        self._writer: LogWriter | None = None
        self._written: OrderedDict[str, Interaction] = OrderedDict()
        self._lock = Lock()

    def append(self, event: Interaction) -> None:
        """Append a reward, unless it was.

        Raises:
            RewardCollision: this server has appended another one with its id.
            DeliveryError, LogUnavailable: it may or may not be stored; the same request may be sent again.
        """
        with self._lock:
            before = self._written.get(event.event_id, event)
            if before != event:
                raise RewardCollision(
                    f"this answer has the reward {before.value:g} for {before.item} already"
                )
            if event.event_id in self._written:
                return
            try:
                self._writer = self._writer or self._log.writer()
                self._writer.append(self._topic, event.user, encode(event))
                self._writer.flush()
            except (DeliveryError, LogUnavailable):
                self._discard()  # a writer that failed stays failed
                raise
            self._written[event.event_id] = event
            if len(self._written) > MOST_REWARDS:
                self._written.popitem(last=False)

    def close(self) -> None:
        """Close the writer."""
        with self._lock:
            self._discard()

    def _discard(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
