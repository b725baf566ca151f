"""What a report says of the run it is about: the command, the data, the seed, the machine, the versions."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

from pipeline.datasets import Dataset
from pipeline.training.learner import Learner

PACKAGES = ("millstream", "torch", "transformers", "numpy")
PROCESSORS = Path("/proc/cpuinfo")


def run_facts(dataset: Dataset, learner: Learner) -> dict[str, str]:
    """Name what somebody needs to repeat a run, and to compare its speed with another one's."""
    return {
        "command": shlex.join(["millstream", *sys.argv[1:]]),
        "data set": dataset.name,
        "digest of the data": dataset.digest or "none",
        "seed": str(learner.config.seed),
        "device": str(learner.device),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _processor() -> str:
    """The processor's model, where Linux names it."""
    lines = PROCESSORS.read_text().splitlines() if PROCESSORS.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
