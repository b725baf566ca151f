"""Attributes of users, from the log to an answer: journalled, restored, published, served, forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from consumers.serve.query import RecommendationQuery
from consumers.serve.ranking import Answer, recommend_all
from consumers.serve.state.serving_state import View
from consumers.serve.state.steering import steered_by
from consumers.serve.user_query import UserQuery
from pipeline.assembly import make_learner
from pipeline.config import Settings
from pipeline.errors import SnapshotCorrupt
from pipeline.events import Attributes, InteractionType, User, encode, event_digest
from pipeline.journal.entry import Verb, read_journal
from pipeline.journal.position import of_topic
from pipeline.model.backbone import Backbone
from pipeline.model.mixer import FIRST_OF_USER
from pipeline.retraining.comparison import evidence, run_through
from pipeline.rules.compiled import NO_RULES
from pipeline.snapshots.publisher import Publication
from pipeline.state.histories import Act, History
from pipeline.state.profiles import NO_ATTRIBUTES, stored_attributes
from tests.support.model_harness import START, ModelHarness, tiny_settings
from tests.support.served_view import view_of

NAMES = ("country", "plan")
GERMAN: Attributes = {"country": "DE"}
FRENCH: Attributes = {"country": "FR"}
NOW = START + 10**9


def reading(settings: Settings, *names: str) -> Settings:
    sizes = settings.learn.sizes.replace(user_attributes=names)
    return settings.model_copy(update={"learn": settings.learn.replace(sizes=sizes)})


def send(harness: ModelHarness, user: str, attributes: Attributes | None) -> None:
    wire = None if attributes is None else encode(User(user=user, attributes=attributes))
    harness.writer.append(harness.topics.users, user, wire)
    harness.writer.flush()


@pytest.fixture
def harness(tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    settings = reading(tiny_settings(tmp_path, backbone_folder), *NAMES)
    with ModelHarness(settings) as made:
        made.stock()
        for number in range(60):
            send(made, f"new{number}", GERMAN if number % 2 else FRENCH)
        for number in range(60):
            colour = "red" if number % 2 else "blue"
            made.act(f"new{number}", f"{colour}-cup", f"{colour}-plate")
        yield made


def answer(view: View, attributes: Attributes, history: History = (), *, explain: bool = False) -> Answer:
    query = RecommendationQuery(12, explain=explain)
    asked = UserQuery(history, None, query, attributes=stored_attributes(attributes))
    (found,) = recommend_all(view, [asked], 20, NOW)
    return found


def scores(view: View, found: Answer) -> dict[str, float]:
    return {view.index.ids[row]: score for row, score in zip(found.rows, found.scores, strict=True)}


def test_first_acts_are_predicted_where_attributes_are_known(harness: ModelHarness) -> None:
    harness.act("nobody", "red-cup")
    with harness.learning() as learning:
        learning.catch_up()
        learned = [batch for batch in learning.learned if batch.micro.interactions]
        assert sum(len(batch.micro.users) for batch in learning.learned) == 60
        assert not learning.learned[0].micro.interactions, "users come before the first interaction"
        figures = learning.learner.recommender.figures()
        assert figures["user's country"].length > 0 and figures["user's plan"].length == 0
        assert len(learned) > 2


def test_a_stranger_is_shown_what_those_alike_did(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learning.catch_up()
        learning.learner.mixer.weights[FIRST_OF_USER, 0] = 1.0  # so few first acts teach it little
        learning.publish(harness.publisher())
        view = view_of(harness, learning, backbone)
        german, french = answer(view, GERMAN), answer(view, FRENCH)
        assert (german.source, french.source) == ("model", "model")
        of_german, of_french = scores(view, german), scores(view, french)
        assert of_german["red-cup"] > of_french["red-cup"] and of_german["blue-cup"] < of_french["blue-cup"]
        others: list[Attributes] = [{}, {"age": "20-29"}, {"country": ()}]
        for unknown in others:
            popular = answer(view, unknown)
            assert (popular.source, popular.reason) == ("popular", "unknown_user")
        segment = learning.learner.stream.segment_before_next("new1")
        assert segment is not None and not segment.begins
        acted = (Act("red-cup", InteractionType.PURCHASE, START),)
        assert answer(view, GERMAN, acted).scores == answer(view, {}, acted).scores, "acts know more"


def test_an_answer_from_attributes_is_explained(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learning.catch_up()
        learning.publish(harness.publisher())
        view = view_of(harness, learning, backbone)
        found = answer(view, GERMAN, explain=True).explanations
        assert found is not None
        assert all(one.because is None and one.companion is None for one in found)
        assert all(sum(one.parts.values()) == pytest.approx(one.logit, abs=1e-4) for one in found)
        acted = (Act("red-cup", InteractionType.PURCHASE, START),)
        (first, *_) = answer(view, GERMAN, acted, explain=True).explanations or []
        assert first.parts.keys() == found[0].parts.keys()


def test_it_is_restored_to_the_bit_and_goes_on(harness: ModelHarness) -> None:
    with harness.learning() as first:
        first.new(3)
        written = first.checkpoint()
        send(harness, "new7", FRENCH)
        send(harness, "new8", None)
        harness.act("late", "red-cup")
        first.catch_up()
        future, profiles = first.digest(), first.learner.stream.profiles
        assert (len(profiles), profiles.of(event_digest("new8"))) == (59, NO_ATTRIBUTES)
        assert profiles.of(event_digest("new7")) == stored_attributes(FRENCH)
    with harness.learning() as second:
        assert second.digest() == written
        second.catch_up()
        assert second.digest() == future == harness.rebuilt().digest


def test_no_snapshot_has_attributes_of_users(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        send(harness, "ann", {"country": "Liechtenstein"})
        learning.catch_up()
        publisher = harness.publisher()
        publisher.publish(Publication(learning.update(publisher), {}, [], []))
        manifest = learning.snapshot().manifest
    folder = Path(harness.settings.snapshots.store)
    files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    assert files and not any(b"Liechtenstein" in content for content in files)
    assert not any(place.startswith(harness.topics.users) for place in manifest.offsets)
    assert manifest.sizes.user_attributes == NAMES and manifest.topic_ids.keys().isdisjoint(
        {harness.topics.users}
    )


def test_a_log_that_is_read_without_them_costs_nothing_and_they_are_read_from_the_first_on(
    harness: ModelHarness,
) -> None:
    plain = reading(harness.settings)
    with harness.learning(plain) as learning:
        learning.new(3)
        learning.checkpoint()
        assert not of_topic(harness.topics.users, learning.position.offsets)
        assert len(learning.learner.stream.profiles) == 0
    with harness.learning() as learning:
        learning.catch_up()
        stream = learning.learner.stream
        assert len(stream.profiles) == 60, "the records of before, too"
        assert learning.learner.config.sizes.user_attributes == (), "a model keeps its sizes"
        learning.learner.grow_to(harness.settings.learn.sizes)
        assert stream.profiles.of(event_digest("new1")) == stored_attributes(GERMAN)
        harness.act("new61", "red-cup")
        learning.new()
    first = next(
        entry
        for entry, _ in read_journal(harness.log, harness.topics.journal)
        if of_topic(harness.topics.users, entry.offsets)
    )
    begins = harness.log.begin_offsets([harness.topics.users])
    assert (first.verb, of_topic(harness.topics.users, first.offsets)) == (Verb.LEARN, begins)


def test_a_rollback_to_before_they_were_read_reads_them_again(harness: ModelHarness) -> None:
    with harness.learning(reading(harness.settings)) as learning:
        learning.new(2)
        before = learning.position.version
        learning.checkpoint()
    with harness.learning() as learning:
        learning.catch_up()
        learning.checkpoint()
        harness.roll_back(before)
        learning.new()
        assert len(learning.learner.stream.profiles) == 60
        assert learning.digest() == harness.rebuilt(from_nothing=False).digest


def test_what_is_no_user_is_passed_over(harness: ModelHarness) -> None:
    harness.writer.append(harness.topics.users, "ann", b"not JSON")
    harness.writer.flush()
    with harness.learning() as learning:
        learning.catch_up()
        assert sum(len(batch.micro.users) for batch in learning.learned) == 60
        assert not any(batch.refused for batch in learning.learned), "a server writes its letter"


def test_a_snapshot_without_the_mixers_weights_is_refused(harness: ModelHarness, backbone: Backbone) -> None:
    with harness.learning() as learning:
        learning.new(2)
        mixer = learning.learner.mixer
        mixer.weights = mixer.weights[:2]
        learning.publish(harness.publisher())
        with pytest.raises(SnapshotCorrupt, match="no weights of a user's first act"):
            view_of(harness, learning, backbone)


def test_the_digest_of_an_answer_has_what_the_model_read_of_its_user() -> None:
    plan = stored_attributes({"plan": "gold", "age": "20"})
    assert steered_by(NO_RULES, plan) == ""
    assert steered_by(NO_RULES, plan, NAMES) == steered_by(
        NO_RULES, stored_attributes({"plan": "gold"}), NAMES
    )
    assert steered_by(NO_RULES, plan, NAMES) != steered_by(
        NO_RULES, stored_attributes({"plan": "basic"}), NAMES
    )


def test_all_else_is_learned_as_without_attributes(harness: ModelHarness) -> None:
    """But for rounding: products have other shapes."""
    plain = make_learner(reading(harness.settings))
    with harness.learning() as learning:
        learning.catch_up()
        for batch in learning.learned:
            plain.score_and_learn(batch.micro)
        one, other = learning.learner.recommender.learned(), plain.recommender.learned()
        assert other.keys() < one.keys()
        for name, tensor in other.items():
            torch.testing.assert_close(one[name], tensor, atol=1e-4, rtol=1e-3)


def test_a_candidate_that_reads_them_is_compared_on_the_targets_of_both(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.catch_up()
        batches = [batch.micro for batch in learning.learned]
    champion, candidate = make_learner(reading(harness.settings)), make_learner(harness.settings)
    runs = [run_through(learner, batches, 0) for learner in (champion, candidate)]
    firsts = sum(int(scores.slices["first_of_user"].sum()) for scores in runs[1].scores)
    found = evidence(*runs)
    assert firsts == 60
    assert found.targets.users.size == found.champion.log_loss.size == found.candidate.log_loss.size == 60
