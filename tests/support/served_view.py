"""The View of a server that has loaded what a learner published last."""

from __future__ import annotations

from consumers.serve.state.loaded_snapshot import SnapshotLoader
from consumers.serve.state.serving_state import ServingState, View
from pipeline.model.backbone import Backbone
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import ModelHarness


def view_of(harness: ModelHarness, learning: LearnerHarness, backbone: Backbone) -> View:
    """The View of a server that has loaded the newest snapshot and the learner's histories."""
    loader = SnapshotLoader(harness.store, backbone, harness.settings.model)
    snapshot = loader.load(harness.store.versions()[-1])
    topics = harness.topics.interactions, harness.topics.items
    state = ServingState(snapshot, learning.learner.stream.histories.copy(), {}, topics)
    state.read(record for topic in topics for record in harness.records(topic))
    return state.view()
