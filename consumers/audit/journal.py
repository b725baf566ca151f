"""The journal beside the log: each record before the last entry's ends is covered by exactly one entry.

A batch covers what lies between the ends of the entry before it and its own. So it is enough that
ends never go back or beyond the log, except at an adoption, which continues where its state ended, and
at a skip over a gap that a person accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from consumers.audit.check import AuditCheck
from pipeline.eventlog.port import Offsets, TopicPartition
from pipeline.journal.entry import JournalEntry, Verb
from pipeline.journal.position import of_topic
from pipeline.snapshots.version import Version
from pipeline.wording import counted


def check_journal(entries: Sequence[JournalEntry], log_ends: Offsets) -> AuditCheck:
    """Check that entries follow from each other, and end within the log.

    Args:
        entries: all that the journal holds, oldest first; at least one.
        log_ends: of the input topics, read after the entries.
    """
    findings = [f"entry {entry.version}: {fault}" for entry, fault in _faults(entries)]
    beyond = _beyond(entries[-1].offsets, log_ends)
    if beyond:
        findings.append(f"entry {entries[-1].version} ends after the log in {', '.join(beyond)}")
    return AuditCheck.of("journal", counted(len(entries), "entry"), findings)


def _faults(entries: Sequence[JournalEntry]) -> Iterator[tuple[JournalEntry, str]]:
    furthest = dict(entries[0].offsets)
    for before, entry in pairwise(entries):
        # A topic may be new in the journal, as impressions once were.
        if {source for source in entry.offsets if source.topic in before.ends} != before.offsets.keys():
            yield entry, "names other partitions than the entry before it"
        elif entry.verb is Verb.SKIP:
            if entry.generation <= before.generation:
                yield entry, f"skips a gap without a new generation after {before.version}"
        elif entry.adopts is not None:
            yield from ((entry, fault) for fault in _adoption_faults(before, entry, furthest))
        else:
            yield from ((entry, fault) for fault in _batch_faults(before, entry))
        furthest = {source: max(end, furthest.get(source, 0)) for source, end in entry.offsets.items()}


def _batch_faults(before: JournalEntry, entry: JournalEntry) -> Iterator[str]:
    if entry.verb not in (Verb.LEARN, Verb.FOLD, Verb.REHEARSE):
        yield f"{entry.verb} is no batch"
    # A generation has no entry if the learner ended before it learned: other settings, then a rollback.
    if entry.generation < before.generation or entry.step != before.step + 1:
        yield f"does not follow {before.version}"
    if back := _beyond(before.offsets, entry.offsets):
        yield f"goes back in {', '.join(back)}: records would be learned twice"
    if entry.verb is Verb.REHEARSE and entry.offsets != before.offsets:
        yield "rehearses and moves on: records would be skipped"
    unfolded = _beyond(before.folds_to, before.offsets)
    if unfolded and entry.verb is not Verb.FOLD:
        yield f"learns before all is folded in {', '.join(unfolded)}"


def _adoption_faults(before: JournalEntry, entry: JournalEntry, furthest: Offsets) -> Iterator[str]:
    if entry.generation <= before.generation:
        yield f"adopts without a new generation after {before.version}"
    if skipped := _beyond(entry.offsets, furthest):
        yield f"adopts a state that ends after all batches in {', '.join(skipped)}: records would be skipped"


def _beyond(offsets: Offsets, ends: Offsets) -> list[str]:
    """Partitions in which offsets are after the ends."""
    return [str(source) for source, offset in sorted(offsets.items()) if offset > ends.get(source, 0)]


def versions_of(entries: Sequence[JournalEntry]) -> dict[Version, dict[TopicPartition, int]]:
    """Return the end offsets of each version in the journal."""
    return {Version.parse(entry.version): entry.offsets for entry in entries}


def begins_of_impressions(entries: Sequence[JournalEntry], topic: str) -> Offsets:
    """Return where the journal begins to cover a topic that it once did not know."""
    begins: Offsets = {}
    for entry in entries:
        shown = of_topic(topic, entry.offsets)
        begins = begins or shown if shown else {}
    return begins
