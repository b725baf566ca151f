"""Where the vectors of encoders are centred, as `pipeline.media.reference` found it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.media.encoder import Vector

FILE = Path(__file__).with_name("centres.json")


@cache
def centre(encoder: str) -> Vector:
    """Return the centre of an encoder's vectors, ``[width]``."""
    return np.array(json.loads(FILE.read_text())[encoder])
