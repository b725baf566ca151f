"""The learner's whole state: copied cheaply, written as files, and restored.

Capturing copies small tensors and the tops of dicts and lists; what they hold is never changed in
place, and rows of the item table are kept before they change. So a background thread can write it while
learning goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from pipeline.checkpoints.checks import (
    check_distinct,
    check_files,
    check_history,
    check_numbers,
    check_replay,
    check_stream,
    read_entries,
    read_profiles,
)
from pipeline.checkpoints.outcomes_file import outcome_lines, read_outcomes
from pipeline.checkpoints.table_file import Content, Part, table_columns, table_parts
from pipeline.config import ModelSizes
from pipeline.eventlog.partitioner import partition_of
from pipeline.journal.position import Position
from pipeline.model.captured_columns import CapturedColumns
from pipeline.model.content.adapter import Adapter
from pipeline.model.tensors import under
from pipeline.monitoring.supervisor import Supervisor, SupervisorState
from pipeline.snapshots.values import check_range
from pipeline.state.catalogue import Catalogue
from pipeline.state.counts import PairRows
from pipeline.state.dedupe import SeenEvents
from pipeline.state.histories import Histories, decode_history, encode_history
from pipeline.state.join_state import JoinState
from pipeline.state.profiles import Profiles
from pipeline.training.learner import Learner
from pipeline.training.optimizer import MOMENTS
from pipeline.training.replay_buffer import ReplayBuffer
from pipeline.value.port import Arrays

LEARNED, TABLE, COUNTS = "learned.safetensors", "table.safetensors", "counts.safetensors"
REPLAY, CATALOGUE, SUPERVISOR = "replay.safetensors", "catalogue.json", "supervisor.json"
ENCODER, OUTCOMES = "encoder.safetensors", "outcomes.jsonl"
USERS = "users.jsonl"
"""Attributes of users by digest; absent while none are read."""
VALUES, RATINGS = "values.safetensors", "ratings.safetensors"
SUPERVISOR_STATE = TypeAdapter(SupervisorState)
CENTROIDS, LISTS = "retrieval.centroids", "retrieval.lists"
"""Names of the centroids by which content is searched, and of each row's list; absent while it is not."""


@dataclass(frozen=True)
class LearnerState:
    """A learner's complete state at one position.

    Attributes:
        model: sizes of the model.
        backbone, max_tokens: digest of the language model, and how many tokens of a text it reads.
        supervisor: state of its supervisor as JSON; None in a state that is only to be adopted.
    """

    position: Position
    model: ModelSizes
    backbone: str
    max_tokens: int
    encoder: Adapter
    learned: dict[str, Tensor]
    table: CapturedColumns
    counts: dict[str, Tensor]
    replay: ReplayBuffer
    catalogue: Catalogue
    histories: Histories
    profiles: Profiles
    seen: dict[int, NDArray[np.int64]]
    outcomes: JoinState
    values: Arrays
    ratings: Arrays
    supervisor: bytes | None


def file_parts(captured: LearnerState, partitions: int) -> Iterator[tuple[str, Iterable[Part]]]:
    """Encode a state as files, one after another, each in parts; equal states give equal bytes.

    There are shared ones, and two per partition.
    """
    yield ENCODER, [write_tensors(dict(captured.encoder))]
    yield LEARNED, [write_tensors(captured.learned)]
    yield TABLE, table_parts(captured.table)
    yield COUNTS, [write_tensors(captured.counts)]
    replay = {name: torch.from_numpy(array) for name, array in captured.replay.state().items()}
    yield REPLAY, [write_tensors(replay)]
    yield CATALOGUE, [_catalogue_file(captured.catalogue)]
    yield OUTCOMES, outcome_lines(captured.outcomes)
    yield VALUES, [write_arrays(dict(captured.values))]
    yield RATINGS, [write_arrays(dict(captured.ratings))]
    if captured.supervisor is not None:
        yield SUPERVISOR, [captured.supervisor]
    if len(captured.profiles):
        yield USERS, captured.profiles.lines()
    for partition, histories in enumerate(_histories(captured.histories, partitions)):
        yield f"histories-{partition}.json", [orjson.dumps(histories)]
    for partition in range(partitions):
        seen = captured.seen.get(partition, np.zeros((2, 0), dtype=np.int64))
        digests = {
            "digests": torch.from_numpy(seen[0]),
            "contents": torch.from_numpy(seen[1].astype(np.int32)),
        }
        yield f"seen-{partition}.safetensors", [write_tensors(digests)]


def _histories(histories: Histories, partitions: int) -> list[dict[str, str]]:
    """Encode the histories of each partition, by user."""
    by_partition: list[dict[str, str]] = [{} for _ in range(partitions)]
    for user in sorted(histories.users()):
        encoded = encode_history(histories.of(user), 0, histories.older(user)).decode()
        by_partition[partition_of(user, partitions)][user] = encoded
    return by_partition


def _catalogue_file(catalogue: Catalogue) -> bytes:
    """Join the items, which are kept as the file has them."""
    entries = zip(catalogue.ids, catalogue.stored, strict=True)
    items = [b"[%b,%b]" % (orjson.dumps(item), entry or b"null") for item, entry in entries]
    return b"[" + b",".join(items) + b"]"


def restore(
    learner: Learner, supervisor: Supervisor | None, model: ModelSizes, files: Mapping[str, Content]
) -> None:
    """Put a learner, and its supervisor if given, into the state that files hold.

    Args:
        learner: any; all its state is replaced.
        supervisor: None to leave it as it is, because it outlives an adoption.
        model: sizes of the model in the files.
        files: by name, as `file_parts` made them.

    Raises:
        ArithmeticError, LookupError, RuntimeError, SafetensorError, TypeError, ValueError: they
            hold no such state; the learner is left in any.
    """
    encoder, learned, counts = (read_tensors(files[name][:]) for name in (ENCODER, LEARNED, COUNTS))
    table = table_columns(files[TABLE])
    check_files(files)
    for name, tensors in (ENCODER, encoder), (LEARNED, learned), (TABLE, table):
        check_numbers(name, tensors)
    replay = {name: tensor.numpy() for name, tensor in read_tensors(files[REPLAY][:]).items()}
    catalogue = Catalogue(read_entries(files[CATALOGUE][:]), model.attributes, model.relations)
    check_stream(len(catalogue), table, counts)
    check_replay(replay, len(catalogue))
    learner.reset(learner.config.replace(sizes=model))
    learner.encoder = learner.encoder.adapted(encoder)
    learner.stream.catalogue = catalogue
    _load_counts(learner, counts)
    _load_users(learner, files)
    if USERS in files:
        learner.stream.profiles.load(read_profiles(files[USERS][:]))
    learner.table.load(table)
    learner.replay.load(replay)
    learner.retriever.load(counts["scanned"].numpy(), learner.table, *_index(learned, table))
    _load_learned(learner, learned)
    has_outcomes = OUTCOMES in files  # not before format 6
    if has_outcomes:
        learner.stream.outcomes.load(read_outcomes(files[OUTCOMES][:]))
        learner.values.load(read_arrays(files[VALUES][:]))
    learner.ratings.load(read_arrays(files[RATINGS][:]) if has_outcomes else {}, len(catalogue))
    if supervisor is not None:
        _load_supervisor(supervisor, files[SUPERVISOR][:] if has_outcomes else None)


def _index(
    learned: Mapping[str, Tensor], table: Mapping[str, Tensor]
) -> tuple[NDArray[np.float32] | None, NDArray[np.int32] | None]:
    """Return the centroids of a state, and the list of each row; None if it has none."""
    centroids, lists = learned.get(CENTROIDS), learned.get(LISTS)
    if centroids is None or lists is None:
        return None, None
    rows, width = table["content"].shape
    if centroids.dim() != 2 or centroids.shape[1] != width or not len(centroids):
        raise ValueError("the centroids are not as wide as the items' content")
    if lists.dtype != torch.int32 or lists.shape != (rows,):
        raise ValueError("there is no list for each item")
    check_range(LISTS, lists, 0, len(centroids))
    return centroids.numpy(), lists.numpy()


def _load_counts(learner: Learner, counts: Mapping[str, Tensor]) -> None:
    stream = learner.stream
    stream.load_counts(counts["acts"].numpy(), int(counts["events"]))
    stream.popularity.load(counts["popularity"].numpy(), float(counts["popularity_scale"]))
    stream.popularity.latest.load(**{name: of.numpy() for name, of in under("latest.", counts).items()})
    pairs = PairRows(*(counts[name].numpy() for name in PairRows._fields))
    stream.covisitation.load(pairs, float(counts["scale"]))


def _load_users(learner: Learner, files: Mapping[str, Content]) -> None:
    """Load what is kept by partition: histories, and digests of the events seen."""
    stream = learner.stream
    for name, content in files.items():
        kind, _, rest = name.partition("-")
        if kind == "histories":
            for user, wire in _by_user(content[:]).items():
                history, _, older = decode_history(wire)
                check_history(history, stream.catalogue)
                stream.histories.put(user, history, older)
        elif kind == "seen":
            seen = {name: tensor.tolist() for name, tensor in read_tensors(content[:]).items()}
            check_distinct(seen["digests"])
            stream.seen[int(rest.partition(".")[0])] = SeenEvents(stream.config.dedupe_window, **seen)


def _by_user(content: bytes) -> dict[Any, Any]:
    """Read the encoded histories of a file, by user."""
    histories = orjson.loads(content)
    if not isinstance(histories, dict):
        raise ValueError("histories are no JSON object")
    return histories


def _load_supervisor(supervisor: Supervisor, content: bytes | None) -> None:
    """Load a supervisor's state, on a scratch one first: a state that is none leaves it as it was.

    Without one, it begins again.
    """
    scratch = Supervisor(*supervisor.configs)
    if content is not None:
        scratch.load(SUPERVISOR_STATE.validate_python(orjson.loads(content)))
    supervisor.load(scratch.state())


def _load_learned(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    learner.recommender.load_learned(under("parameter.", tensors))
    learner.mixer.load(under("mixer.", tensors))
    moments = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in MOMENTS}
    learner.optimizer.load_moments(moments)
