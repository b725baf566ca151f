"""Every error that millstream raises on purpose; each names the culprit and the remedy."""

from __future__ import annotations


class MillstreamError(Exception):
    """Base of all errors that a user can do something about."""


class InvalidEvent(MillstreamError):
    """An event broke the schema or a bound; it belongs into the dead letters.

    Attributes:
        field: dotted path of the offending field, or ``"event"`` for the whole.
        reason: what is wrong with it, in words; never the value itself.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidSettings(MillstreamError):
    """A setting is unknown, malformed or contradicts another."""


class DatasetError(MillstreamError):
    """A data set is missing or its files do not have the expected shape."""


class LogUnavailable(MillstreamError):
    """The event log does not answer: a broker is down, or a file cannot be opened."""


class DeliveryError(MillstreamError):
    """The event log did not acknowledge an append; the record may or may not be stored."""


class TopicError(MillstreamError):
    """A topic is missing, or exists with other partitions or retention than required."""


class OffsetsExpired(MillstreamError):
    """A reader asked for records that the log no longer (or does not yet) hold.

    Attributes:
        topic, partition: where.
        requested: the offset asked for.
        begin, end: what the log holds now, ``begin <= offset < end``.
    """

    def __init__(self, topic: str, partition: int, requested: int, begin: int, end: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: offset {requested} is outside the log's [{begin}, {end}); "
            f"{max(0, begin - requested)} records are lost to retention: restore a newer "
            "checkpoint or raise the topic's retention (millstream topics check)"
        )
        self.topic = topic
        self.partition = partition
        self.requested = requested
        self.begin = begin
        self.end = end


class Fenced(MillstreamError):
    """Another process took over the journal; this one must stop at once."""


class OrderRefused(MillstreamError):
    """A promotion or rollback cannot be carried out; the learner goes on as it was."""


class CandidateUnknown(MillstreamError):
    """There is no such candidate, or not any more."""


class ChampionGone(MillstreamError):
    """While a candidate was made, something else was adopted in its champion's place."""


class NothingToLearn(MillstreamError):
    """A retrain's window, or what comes after it, has no act that could be foreseen."""


class Occupied(MillstreamError):
    """Another process does this work already."""


class BackboneNotFound(MillstreamError):
    """The pretrained language model is nowhere to be found."""


class CheckpointCorrupt(MillstreamError):
    """A checkpoint's files do not match their digests or format version."""


class SnapshotCorrupt(MillstreamError):
    """A snapshot's files do not match its manifest; it must not be served."""


class SnapshotsAhead(MillstreamError):
    """The snapshot store holds a version that the journal has not reached: it is another log's."""
