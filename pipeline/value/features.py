"""Features: what a server knows of a user and of items when it makes a slate, as learners of values read it.

They are written into the impression, so that what is learned is what was known then, whatever model and
catalogue have become since.
"""

from __future__ import annotations

import binascii
import hashlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Features
from pipeline.value.port import Vectors

LAYOUT = "1"
"""Rises when a feature is added, or means something else."""
JOINT, OWN = 16, 8
"""Numbers of a projection: of the product of the user's and an item's vector, and of one of these vectors."""
USER_FACTS = ("history", "session", "pause", "shown", "is_unknown")
"""Logs of: acts of the history, acts of the session, minutes since the last act, items shown lately; and
whether the model does not know the user."""
SCORERS = (
    "model",
    "covisitation",
    "popularity",
    "bias",
    "repeat",
    "in_basket",
    "followed",
    "beside",
    "rejected",
)
"""What the scorers say of an item; log-probabilities are above chance, so that they do not fall as the
catalogue grows."""
EXPOSURE = ("shown", "category_shown", "category_acted")
"""How lately the item was shown to the user; logs of how many items of its category were, and of how many
acts of the session were on its category."""
STATE, ITEM = OWN + len(USER_FACTS), JOINT + OWN + len(SCORERS) + len(EXPOSURE)
"""Numbers of features of a state and of an item."""
MOST_ITEMS = 200
"""Longer slates are written without features."""
OTHERS = 13
"""Items that were not shown whose features are written, for a learner that looks for the best slate."""
NO_OTHERS: Vectors = np.zeros((0, ITEM), dtype=np.float32)
LARGEST = 1_000.0
"""Features are cut here, far beyond what they are."""
SHORTEST = np.finfo(np.float32).tiny
"""What lengths are divided by at least."""


def directions(vectors: Vectors) -> Vectors:
    """Scale vectors ``[..., d]`` to length 1; one of zeros stays so."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))[..., None]
    found: Vectors = vectors / np.maximum(lengths, SHORTEST)
    return found


def project_user(user: Vectors) -> Vectors:
    """Return the projection ``[OWN]`` of the direction ``[d]`` of a user's vector."""
    projected: Vectors = _signs(user.size)[JOINT:] @ user
    return projected


def project_items(user: Vectors, items: Vectors) -> Vectors:
    """Return the projections ``[m, JOINT + OWN]`` of items' directions ``[m, d]``, given a user's ``[d]``."""
    signs = _signs(user.size)
    joint = signs[:JOINT] * (user * np.float32(np.sqrt(user.size)))
    projected: Vectors = items @ np.concatenate((joint, signs[JOINT:])).T
    return projected


@lru_cache(maxsize=4)
def _signs(width: int) -> Vectors:
    """Return the signs ``[JOINT + OWN, width]`` of the random projections (Achlioptas 2003)."""
    bits = np.frombuffer(hashlib.shake_128(b"projection").digest(width * (JOINT + OWN)), dtype=np.uint8) & 1
    signs = 2 * bits.astype(np.float32) - 1
    return np.ascontiguousarray(signs.reshape(width, JOINT + OWN).T)


class SlateFeatures(NamedTuple):
    """Features of an impression.

    Attributes:
        state: ``[STATE]``.
        items: ``[k, ITEM]`` of those that were shown.
        others: ``[c, ITEM]`` of some that were not; None if none are said.
    """

    state: Vectors
    items: Vectors
    others: Vectors | None


def pack(state: Vectors, items: Vectors, others: Vectors = NO_OTHERS) -> Features:
    """Encode features ``[STATE]``, ``[k, ITEM]`` and ``[c, ITEM]``, as `rounded` leaves them."""
    return Features(layout=LAYOUT, state=_text(state), items=_text(items), others=_text(others))


def unpack(features: Features, count: int) -> SlateFeatures:
    """Decode the features of an impression of so many items.

    Raises:
        ValueError: they are of another layout, not so many, or not within the bounds of what servers write.
    """
    if features.layout != LAYOUT:
        raise ValueError(f"its features are of layout {features.layout!r}; this release reads {LAYOUT!r}")
    state, items, others = (_read(text) for text in (features.state, features.items, features.others))
    if state.size != STATE or items.size != count * ITEM or others.size % ITEM:
        raise ValueError(f"its features are not {STATE} of a state and {ITEM} of each item")
    rows = items.reshape(count, ITEM), others.reshape(-1, ITEM)
    return SlateFeatures(state, rows[0], rows[1] if others.size else None)


def rounded(features: Vectors) -> Vectors:
    """Return features as an impression holds them; values are computed from these."""
    return _halves(features).astype(np.float32)


def _halves(features: Vectors) -> NDArray[np.float16]:
    return features.clip(-LARGEST, LARGEST).astype("<f2")


def _text(numbers: Vectors) -> str:
    return binascii.b2a_base64(_halves(numbers).tobytes(), newline=False).decode()


def _read(text: str) -> Vectors:
    content = binascii.a2b_base64(text, strict_mode=True)  # a subclass of ValueError
    numbers = np.frombuffer(content[: len(content) // 2 * 2], dtype="<f2").astype(np.float32)
    if len(content) % 2 or not (np.abs(numbers) <= LARGEST).all():  # no comparison holds for NaN
        raise ValueError(f"its features are not numbers of 16 bits, {LARGEST:.0f} at most")
    return numbers
