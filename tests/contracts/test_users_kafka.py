"""Users on a real broker: each once, and the same again from the journal."""

from __future__ import annotations

from pathlib import Path

from pipeline.events import User, encode
from tests.support.model_harness import ModelHarness, tiny_settings
from tests.support.tiny_backbone import tiny_backbone

USERS = 40


def test_users_are_read_once_and_a_rebuild_is_the_same(kafka_url: str, prefix: str, tmp_path: Path) -> None:
    """However a broker's answers cut the batches."""
    settings = tiny_settings(tmp_path, tiny_backbone(tmp_path / "backbone"))
    sizes = settings.learn.sizes.replace(user_attributes=("country",))
    learn, log = settings.learn.replace(sizes=sizes), settings.log.replace(url=kafka_url, prefix=prefix)
    with ModelHarness(settings.model_copy(update={"log": log, "learn": learn})) as harness:
        harness.stock()
        for number in range(USERS):
            user = User(user=f"u{number}", attributes={"country": "DE" if number % 2 else "FR"})
            harness.writer.append(harness.topics.users, user.user, encode(user))
        for number in range(USERS):
            harness.act(f"u{number}", "red-cup", "red-plate")
        with harness.learning() as learning:
            while learning.learner.stream.events < 2 * USERS:
                learning.new()
            learning.checkpoint()
            harness.writer.append(harness.topics.users, "u1", None)
            harness.act("u2", "blue-cup")
            while (
                len(learning.learner.stream.profiles) == USERS or learning.learner.stream.events == 2 * USERS
            ):
                learning.new()
        assert sum(len(batch.micro.users) for batch in learning.learned) == USERS + 1
        assert harness.rebuilt().digest == learning.digest() == harness.rebuilt(from_nothing=False).digest
