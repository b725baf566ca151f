"""The user tower in ONNX, computed by onnxruntime: an option of servers.

Only the frozen weights are in the file. What is learned are inputs of the graph, so that a new snapshot needs
no other file; measured, that costs nothing (see docs/benchmarks.md). The file depends on language model and
sizes alone, is found by their digest, and is made by the first process of a machine that needs it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.atomic_files import sync_folder
from pipeline.config import ModelSizes
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import Rows
from pipeline.model.last_acts import AttentionMaps, HistoryTower, acts_before_last, attention_maps
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import with_attributes
from pipeline.state.segments import Segment

ACTS = ("vectors", "types", "values", "gaps", "lengths")
"""Names of the inputs that are no parameters, see `HistoryTower`; the others have the names of parameters."""
MAPS = tuple(f"attention.{name}" for name in AttentionMaps._fields)
"""Names of the inputs that are `attention_maps`, of towers that have them."""
USERS = "users"
"""Name of the output."""
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
EXPORTERS = ("torch", "torch.onnx", "onnxscript", "onnx_ir")
"""Loggers that write while a graph is made."""
RELEASE = 2
"""Changes when the graph does, though model and sizes stay."""


class OnnxTower:
    """Computes user vectors in onnxruntime, with the parameters that a recommender has at the time."""

    def __init__(self, file: Path, recommender: Recommender) -> None:
        """Load a file of `exported` for a recommender of the same sizes, on the CPU."""
        import onnxruntime  # noqa: PLC0415 (of the extra)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores have other work
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._recommender = recommender
        self._inputs = {one.name for one in self._session.get_inputs()}
        # Arrays that share the parameters' memory: a snapshot that is loaded in place is seen at once.
        self._learned = {
            name: part.detach().numpy()
            for name, part in learned_in(recommender).items()
            if name in self._inputs
        }

    @torch.inference_mode()
    def last_users(
        self, segments: Sequence[Segment], items: Rows, context: int, maps: AttentionMaps | None
    ) -> Tensor:
        """Compute what `pipeline.model.last_acts.last_users` does, ``[m, d]``, but for rounding."""
        return with_attributes(
            segments, self._recommender, lambda acted: self._after_acts(acted, items, context, maps)
        )

    def _after_acts(
        self, segments: Sequence[Segment], items: Rows, context: int, maps: AttentionMaps | None
    ) -> Tensor:
        recent, vectors = acts_before_last(segments, self._recommender, items, context)
        lengths = np.array([len(acts) for acts in recent])
        is_act = np.arange(lengths.max()) < lengths[:, None]

        def laid_out(values: NDArray[Any]) -> NDArray[Any]:
            rows = np.zeros((*is_act.shape, *values.shape[1:]), dtype=values.dtype)
            rows[is_act] = values
            return rows

        features = {
            name: laid_out(np.concatenate([getattr(acts, name) for acts in recent]))
            for name in ("types", "values", "gaps")
        }
        inputs = {"vectors": laid_out(vectors.numpy()), **features, "lengths": lengths, **named_maps(maps)}
        (users,) = self._session.run([USERS], {**inputs, **self._learned})
        return torch.from_numpy(users)


def named_maps(maps: AttentionMaps | None) -> dict[str, NDArray[np.float32]]:
    """Return attention maps by the names of the inputs that they are."""
    return dict(zip(MAPS, (part.numpy() for part in maps or ()), strict=bool(maps)))


def learned_in(recommender: Recommender) -> dict[str, nn.Parameter]:
    """Return those of the learned parameters that are inputs of the graph, in its order."""
    return {name: part for name, part in recommender.learned().items() if name.startswith("tower.")}


def check_installed() -> None:
    """Check that a tower can be exported and computed.

    Raises:
        InvalidSettings: a package is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidSettings(
            f'serve.runtime is "onnx", but {", ".join(missing)} is not installed: '
            "pip install 'millstream[onnx]', or serve with runtime = \"torch\""
        )


def exported(backbone: Backbone, sizes: ModelSizes, recommender: Recommender, cache: Path) -> Path:
    """Return the file of a recommender's tower; the first process of the machine that asks makes it.

    Raises:
        OnnxExporterError: the layers have something that ONNX has not.
    """
    parts = (backbone.digest, sizes.model_dump_json(), *map(version, ("torch", "transformers")), RELEASE)
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    file = cache / f"tower-{digest[:16]}.onnx"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as temporary:
            made = Path(temporary) / file.name
            _export(recommender, made)
            sync_folder(made)
            made.rename(file)
        sync_folder(cache)
    return file


class _Graph(nn.Module):
    """The tower as a function of acts and of what is learned."""

    def __init__(self, recommender: Recommender) -> None:
        super().__init__()
        self.tower = HistoryTower(recommender.tower)
        self.names = [*learned_in(recommender)]

    def forward(
        self,
        vectors: Tensor,
        types: Tensor,
        values: Tensor,
        gaps: Tensor,
        lengths: Tensor,
        learned: list[Tensor],
        maps: list[Tensor],
    ) -> Tensor:
        named = dict(zip(self.names, learned, strict=True))
        acts = vectors, types, values, gaps, lengths
        users: Tensor = functional_call(self.tower, named, (*acts, AttentionMaps(*maps) if maps else None))
        return users


def _export(recommender: Recommender, file: Path) -> None:
    """Write the graph, of any number of histories of any length."""
    learned, maps = learned_in(recommender), [*(attention_maps(recommender.tower) or ())]
    m, t, width = 3, 5, len(recommender.tower.projection)  # 1 would be taken for the only size
    # Three tensors: one under several names would be one input.
    types, values, gaps = (torch.zeros(m, t, dtype=torch.int64) for _ in range(3))
    dynamic = torch.export.Dim.DYNAMIC
    rows = {0: dynamic, 1: dynamic}
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            _Graph(recommender).eval(),
            (torch.zeros(m, t, width), types, values, gaps, torch.full((m,), t), [*learned.values()], maps),
            file,
            input_names=[*ACTS, *learned, *MAPS[: len(maps)]],
            output_names=[USERS],
            dynamo=True,
            dynamic_shapes=(rows, rows, rows, rows, {0: dynamic}, [None] * len(learned), [None] * len(maps)),
            external_data=False,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's lines out of the log: each step, and packages that this has no use for."""
    loggers = [logging.getLogger(name) for name in EXPORTERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
