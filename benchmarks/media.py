"""Measure what encoders of pictures and sounds keep of a trait that only the picture or the sound tells.

The simulated shop draws a picture and plays a sound for each item; colour and shape, and pitch, tell its
style. A linear probe (ridge regression onto the styles, one column each) learns half of the items' vectors,
and guesses the styles of the other half: what it finds, a model can find that reads vectors by a linear map.
Beside it stands the same probe on styles that were drawn once more, of which the files tell nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipeline.cli.terminal import ReportOption
from pipeline.config import EncoderName, MediaConfig
from pipeline.datasets.shop.pictures import picture
from pipeline.datasets.shop.sounds import sound
from pipeline.datasets.shop.words import STYLES
from pipeline.media.encoders import load_encoder

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MADE: dict[EncoderName, Callable[[str, int, int], bytes]] = {
    "efficientnet-lite0": picture,
    "speech-embedding": sound,
    "basic-pitch": sound,
}
PENALTY = 1e-3


def vectors_of(encoder: EncoderName, styles: Integers, seed: int) -> tuple[Floats, float]:
    """Encode a file for each style; return the vectors ``[n, width]``, and milliseconds for each."""
    loaded = load_encoder(encoder, MediaConfig())
    files = [MADE[encoder](f"{number}", int(style), seed) for number, style in enumerate(styles)]
    started = time.perf_counter()
    vectors = np.stack([loaded.encode(file) for file in files])
    return vectors, 1_000 * (time.perf_counter() - started) / len(files)


def accuracy(vectors: Floats, styles: Integers) -> float:
    """Learn from the first half of vectors ``[n, d]``; return the share of right guesses in the second."""
    half = len(vectors) // 2
    known = np.column_stack([vectors, np.ones(len(vectors))])
    wanted = np.eye(len(STYLES))[styles]
    square = known[:half].T @ known[:half] + PENALTY * np.eye(known.shape[1])
    weights = np.linalg.solve(square, known[:half].T @ wanted[:half])
    guesses = (known[half:] @ weights).argmax(axis=1)
    return float((guesses == styles[half:]).mean())


def measure(encoder: EncoderName, items: int, seed: int) -> dict[str, float]:
    """Probe the vectors of an encoder for the styles that the files tell, and for others."""
    rng = np.random.default_rng(seed)
    styles, others = rng.integers(len(STYLES), size=(2, items))
    vectors, cost = vectors_of(encoder, styles, seed)
    return {
        "accuracy": accuracy(vectors, styles),
        "of others": accuracy(vectors, others),
        "chance": 1 / len(STYLES),
        "ms a file": cost,
    }


def main(
    items: Annotated[int, typer.Option(min=24, help="Files for each encoder.")] = 1_200,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    report: ReportOption = None,
) -> None:
    """Print how often the probe finds the style of an item that it has not seen."""
    found = {encoder: measure(encoder, items, seed) for encoder in MADE}
    table = Table("encoder", *next(iter(found.values())))
    for encoder, figures in found.items():
        table.add_row(encoder, *(f"{figure:.3f}" for figure in figures.values()))
    Console().print(table)
    if report:
        Path(report).write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    typer.run(main)
