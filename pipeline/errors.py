"""Errors that millstream raises on purpose; each message names the cause and the remedy."""

from __future__ import annotations

from enum import StrEnum


class RefusalReason(StrEnum):
    """Why a record was refused, in one word of a bounded set: the label of metrics, the key of counts."""

    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    NO_VALUE = "no_value"
    SCHEMA = "schema"
    """Another version or kind of event."""
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_BOUNDS = "out_of_bounds"
    NUMERIC_ID = "numeric_id"
    UNKNOWN_TYPE = "unknown_type"
    TIME_UNIT = "time_unit"
    TIME_AHEAD = "time_ahead"
    KEY = "key"
    """The record's key is not the user or the item."""
    COLLISION = "collision"
    """The event id is that of another event with other content."""
    INVALID = "invalid"
    """None of the others."""


class MediaReason(StrEnum):
    """Why a picture or a sound was refused, in one word of a bounded set: the label of a metric."""

    HOST = "host"
    """Not a host that the settings allow; or a redirect leads to such a one."""
    ADDRESS = "address"
    """The host has a private or otherwise special address."""
    REDIRECTS = "redirects"
    """Too many of them."""
    STATUS = "status"
    """The host answered with another status than 200."""
    UNREACHABLE = "unreachable"
    """No connection, no secure one, or no HTTP."""
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    """More bytes, pixels, memory or time to decode than is allowed; or the item, with its vector, than the
    log takes."""
    EMPTY = "empty"
    WRONG_TYPE = "wrong_type"
    """Its first bytes are not those of a format that the encoder reads."""
    DAMAGED = "damaged"
    """Cut off, or not of the format that it begins as."""
    OUT_OF_BOUNDS = "out_of_bounds"
    """A sampling rate, or values of samples, that no sound has."""
    CRASHED = "crashed"
    """It ended the process that decodes."""


PASSING = frozenset({MediaReason.STATUS, MediaReason.UNREACHABLE, MediaReason.TOO_SLOW})
"""Reasons that may be gone later."""


class MillstreamError(Exception):
    """Base class of the errors that a user can act on."""


class MediaRefused(MillstreamError):
    """A picture or a sound gets no vector; its item is served without.

    Attributes:
        reason: in one word.
        is_passing: whether another try, later, may succeed.
    """

    def __init__(self, reason: MediaReason, why: str) -> None:
        super().__init__(f"{reason}: {why}")
        self.reason = reason
        self.why = why
        self.is_passing = reason in PASSING

    def __reduce__(self) -> tuple[type[MediaRefused], tuple[MediaReason, str]]:
        return type(self), (self.reason, self.why)


class InvalidEvent(MillstreamError):
    """An event violates the schema or a bound; its record goes to the dead-letter topic.

    Attributes:
        field: dotted path of the offending field, or ``"event"`` for the whole event.
        reason: what is wrong with it and the remedy, in words; never contains the value itself.
        code: the reason in one word.
    """

    def __init__(self, field: str, reason: str, code: RefusalReason = RefusalReason.INVALID) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.code = code


class InvalidSettings(MillstreamError):
    """A setting is unknown, is malformed or contradicts another one."""


class EncoderUnavailable(MillstreamError):
    """The process that encodes pictures and sounds does not start."""


class DatasetError(MillstreamError):
    """A data set is missing or its files do not have the expected shape."""


class EmptyData(DatasetError):
    """The files of a data set have no rows."""


class NothingToEvaluate(MillstreamError):
    """No impression says what a policy would have shown."""


class PolicyRefused(MillstreamError):
    """A policy cannot be put in use, or be left."""


class LogUnavailable(MillstreamError):
    """The event log does not answer: a broker is down, or a file cannot be opened."""


class LogRefused(LogUnavailable):
    """The event log refuses this process: its login, a certificate, or a right that it lacks.

    A daemon that starts ends with it, because waiting does not help. One that runs waits as for a log that is
    away: a right may be granted, and a login changed back.
    """


class StorageUnavailable(MillstreamError):
    """Snapshot store, checkpoint folder or a report's file refused a write: it is away, or full."""


class StoreAway(StorageUnavailable, OSError):
    """A snapshot store elsewhere does not answer, or refuses this login; an OSError, as those of a disk."""


class FrozenWeightsChanged(MillstreamError):
    """Weights that do not learn are not what they were; what was learned with them is not to be trusted."""


class DeliveryError(MillstreamError):
    """The event log did not acknowledge an append; the record may or may not be stored."""


class TopicError(MillstreamError):
    """A topic, or the file of them all, is missing; or one has other partitions or retention than needed."""


class TopicRenewed(MillstreamError):
    """A topic was deleted and made again while it was read; its offsets mean other records now."""


class NoCheckpoint(TopicError):
    """The learner has written no checkpoint yet that a retrain could begin from."""


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
            f"lost to retention: {max(0, begin - requested)} of its records (`millstream topics check` "
            "compares it with `retention_hours` in [log])"
        )
        self.topic = topic
        self.partition = partition
        self.requested = requested
        self.begin = begin
        self.end = end


class RecordsLost(MillstreamError):
    """A log lost records before a learner or a bridge had read them, and nobody has accepted that yet."""

    def __init__(
        self, lost: str, without: str = "with the model and without these records", daemon: str = "learn"
    ) -> None:
        table = "log" if daemon == "learn" else daemon
        super().__init__(
            f"{lost}. Restore the log's data; or go on {without}: "
            f"`millstream {daemon} --accept-gap`, or `accept_gap = true` in [{table}]"
        )


class Fenced(MillstreamError):
    """Another process took over the journal; this process must stop immediately."""


class OrderRefused(MillstreamError):
    """A promotion or rollback cannot be carried out; the learner continues unchanged."""


class RetrainCancelled(MillstreamError):
    """A retrain by hand ended before the Gate could judge its candidate."""


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


class CheckpointMissing(CheckpointCorrupt):
    """A checkpoint that is named, in an order, in the journal or by a person, is not there."""


class VersionUnknown(MillstreamError):
    """A version is named that neither the journal nor a checkpoint holds."""


class SnapshotCorrupt(MillstreamError):
    """The files of a snapshot do not match its manifest; it must not be served."""


class SnapshotMissing(SnapshotCorrupt):
    """A snapshot that is named, in an announcement or by a person, is not in the store."""


class JournalCorrupt(MillstreamError):
    """An entry of the journal cannot be read, or is out of bounds: what comes after it cannot be trusted."""


class SnapshotsAhead(MillstreamError):
    """The snapshot store holds a version that the journal has not reached, so it belongs to another log."""
