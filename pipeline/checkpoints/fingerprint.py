"""The fingerprint of machine and settings: a learner reproduces bits only where it is equal."""

from __future__ import annotations

import functools
import hashlib
import platform
import uuid
from pathlib import Path

import torch

from pipeline.checkpoints.manifest import FORMAT
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.filesystem import FORMAT as SNAPSHOT_FORMAT
from pipeline.training.learner import Learner

PROCESS_ID = uuid.uuid4().hex
"""Random id of this process; part of the fingerprint on CUDA only."""


def fingerprint(learner: Learner, supervisor: Supervisor) -> str:
    """Digest everything that must be equal for a batch to give the same bits; 16 hex digits.

    The formats of checkpoints and snapshots stand for what a release computes, or publishes, otherwise
    than the one before. The supervisor's settings belong to it, because its records are part of what a
    batch gives. CUDA does not promise equal bits even to the same program, so there each process has
    its own fingerprint: batches that a restart learns again may differ from what was published, and it
    continues in a new generation.
    """
    machine = (
        platform.machine(),
        torch.__version__,
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
    )
    device = learner.device
    chip = (torch.cuda.get_device_name(device), PROCESS_ID) if device.type == "cuda" else _cpu_model()
    texts = learner.encoder.backbone_digest, learner.encoder.max_tokens
    settings = learner.born, learner.signals, learner.rewards, learner.valued, supervisor.configs
    decisive = repr((FORMAT, SNAPSHOT_FORMAT, *settings, texts, machine, device.type, chip))
    return hashlib.blake2b(decisive.encode(), digest_size=8).hexdigest()


@functools.cache
def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return platform.processor()
    return next((line for line in listing.read_text().splitlines() if line.startswith("model name")), "")
