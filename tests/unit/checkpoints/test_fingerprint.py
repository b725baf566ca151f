"""The fingerprint on CUDA belongs to one process, so every restart there opens a new generation."""

from __future__ import annotations

import copy

import pytest
import torch

from pipeline.checkpoints import fingerprint as module
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.monitoring.supervisor import Supervisor
from pipeline.training.learner import Learner
from tests.support import learner_harness, model_harness
from tests.support.model_harness import ModelHarness


@pytest.fixture(autouse=True)
def some_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some GPU")


def fingerprint_on_cuda(learner: Learner, supervisor: Supervisor) -> str:
    """The fingerprint that the same learner would have on CUDA."""
    other = copy.copy(learner)
    other.device = torch.device("cuda")
    return fingerprint(other, supervisor)


def test_on_cuda_each_process_has_its_own(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, supervisor = harness.learner(), harness.supervisor()
    on_cpu, on_cuda = fingerprint(learner, supervisor), fingerprint_on_cuda(learner, supervisor)
    assert on_cpu != on_cuda == fingerprint_on_cuda(learner, supervisor)
    monkeypatch.setattr(module, "PROCESS_ID", "of another process")
    assert on_cuda != fingerprint_on_cuda(learner, supervisor)
    assert on_cpu == fingerprint(learner, supervisor), "on a CPU every process computes the same bits"


def test_a_restart_on_cuda_opens_a_new_generation(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in (learner_harness, model_harness):
        monkeypatch.setattr(user, "fingerprint", fingerprint_on_cuda)
    generations = list[int]()
    for process in ("first", "second", "third"):
        monkeypatch.setattr(module, "PROCESS_ID", process)
        harness.shop(3)
        with harness.learning() as learning:
            learning.recover()
            for _ in range(2):
                generations += [batch.position.generation for batch in learning.new()]
                harness.shop(3)
    assert generations == [1, 1, 2, 2, 3, 3]
