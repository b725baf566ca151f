"""Errors that millstream raises on purpose; each message names the cause and the remedy."""

from __future__ import annotations


class MillstreamError(Exception):
    """Base class of the errors that a user can act on."""


class InvalidEvent(MillstreamError):
    """An event violates the schema or a bound; its record goes to the dead-letter topic.

    Attributes:
        field: dotted path of the offending field, or ``"event"`` for the whole event.
        reason: what is wrong with it, in words; never contains the value itself.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidSettings(MillstreamError):
    """A setting is unknown, is malformed or contradicts another one."""


class DatasetError(MillstreamError):
    """A data set is missing or its files do not have the expected shape."""


class LogUnavailable(MillstreamError):
    """The event log does not answer: a broker is down, or a file cannot be opened."""


class DeliveryError(MillstreamError):
    """The event log did not acknowledge an append; the record may or may not be stored."""


class TopicError(MillstreamError):
    """A topic is missing, or exists with other partitions or retention than required."""


class OffsetsExpired(MillstreamError):
    """A reader requested an offset that the log no longer holds, or does not hold yet.

    Attributes:
        topic, partition: the partition that was read.
        requested: the requested offset.
        begin, end: the offsets that the log holds now: ``begin <= offset < end``.
    """

    def __init__(self, topic: str, partition: int, requested: int, begin: int, end: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: offset {requested} is outside the log's range [{begin}, {end}); "
            f"{max(0, begin - requested)} records are lost to retention: restore a newer "
            "checkpoint or raise the topic's retention (millstream topics check)"
        )
        self.topic = topic
        self.partition = partition
        self.requested = requested
        self.begin = begin
        self.end = end


class Fenced(MillstreamError):
    """Another process took over the journal; this process must stop immediately."""


class OrderRefused(MillstreamError):
    """A promotion or rollback cannot be carried out; the learner continues unchanged."""


class CandidateUnknown(MillstreamError):
    """The candidate does not exist, or has been deleted."""


class ChampionGone(MillstreamError):
    """Another state replaced the champion while a candidate was being trained against it."""


class NothingToLearn(MillstreamError):
    """The window of a retrain, or the part of the log after it, contains no target to predict."""


class Occupied(MillstreamError):
    """Another process is already doing this work."""


class BackboneNotFound(MillstreamError):
    """The pretrained language model was not found at a path, in a package or on the hub."""


class CheckpointCorrupt(MillstreamError):
    """The files of a checkpoint do not match their digests or the format version."""


class SnapshotCorrupt(MillstreamError):
    """The files of a snapshot do not match its manifest; it must not be served."""


class SnapshotsAhead(MillstreamError):
    """The snapshot store holds a version that the journal has not reached, so it belongs to another log."""
