"""Where the vectors of encoders are centred: the mean over media that were made up, none of them anybody's.

What networks make of any picture, or of any sound, has much in common (a mean cosine of .71 and .92 among
the shop's), and tells nothing of an item. Without it, what differs is most of a vector (Mu and Viswanath
2018, "All-but-the-top"). The means are kept in `centres.json`, which `python -m pipeline.media.reference`
writes.
"""

from __future__ import annotations

import json

import numpy as np

from pipeline.config import MediaConfig
from pipeline.media.centres import FILE
from pipeline.media.encoder import DECIMALS
from pipeline.media.encoders import ENCODERS
from pipeline.media.formats import Medium
from pipeline.media.made_up import pictures, sounds

MADE_UP = {Medium.IMAGE: pictures, Medium.SOUND: sounds}


def write() -> None:
    """Write the centres of all encoders."""
    means = {}
    for name, spec in ENCODERS.items():
        encoder = spec.make(MediaConfig(), np.zeros(spec.width))
        found = np.mean([encoder.encode(medium) for medium in MADE_UP[spec.medium]()], axis=0)
        means[name] = found.round(DECIMALS).tolist()
    FILE.write_text(json.dumps(means) + "\n")


if __name__ == "__main__":
    write()
