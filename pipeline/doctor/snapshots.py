"""The snapshot store: whether it answers, holds what was announced, and can be read by this release."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config import Settings
from pipeline.config.urls import masked
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.errors import InvalidSettings, StorageUnavailable
from pipeline.eventlog.port import EventLog, read_compacted
from pipeline.eventlog.topics import Topics
from pipeline.sealing import BrokenSeal, open_record, unseal
from pipeline.snapshots.filesystem import FORMAT, MANIFEST, open_model, versions_in
from pipeline.wording import counted


def check_store(settings: Settings) -> Iterator[Finding]:
    """Open the store and list its snapshots."""
    try:
        number = len(versions_in(*open_model(settings.snapshots.store, settings.log.prefix)))
    except InvalidSettings as error:
        yield fault("snapshots", str(error), "set `snapshots.store`, or install what its scheme needs")
    except (StorageUnavailable, OSError) as error:
        yield fault("snapshots", f"the store does not answer: {error}", "check `snapshots.store`")
    else:
        yield ok("snapshots", f"the store answers and holds {counted(number, 'snapshot')}")


def check_announced(opened: EventLog, topics: Topics, settings: Settings) -> Iterator[Finding]:
    """Look for the snapshot that was announced last; servers load no other."""
    record = read_compacted(opened, topics.snapshots).get(topics.prefix)
    if record is None:
        return
    try:
        version = str(open_record(record.value or b"")["version"])
        files, folder = open_model(settings.snapshots.store, topics.prefix)
        manifest = files.read(f"{folder}/{version}/{MANIFEST}")
        key = settings.snapshots.key
        unseal(manifest, FORMAT, key.get_secret_value().encode() if key else None)
    except FileNotFoundError:
        text = f"{version} was announced and is not in the store {masked(settings.snapshots.store)}"
        remedy = "set `snapshots.store` as at the learner, let it publish again, or `millstream rollback`"
        yield fault("snapshots", text, remedy)
    except BrokenSeal as error:
        text = f"{version}, announced last, cannot be read: {error}"
        remedy = "start the learner: it publishes again; until then servers answer with what is popular"
        yield fault("snapshots", text, remedy)
    except (InvalidSettings, StorageUnavailable, OSError):
        pass  # `check_store` says so
    except (ValueError, LookupError):
        yield warning("snapshots", "the last announcement is damaged", "let the learner publish again")
    else:
        yield ok("snapshots", f"{version}, announced last, is in the store")
