"""New ratings come with the user's earlier ones, in bounded pieces."""

from __future__ import annotations

from pipeline.events import Interaction, InteractionType
from pipeline.ratings.acts import AT_ONCE, UserRatings, new_ratings
from pipeline.state.histories import Act, History

ROWS = {f"i{number}": number for number in range(200)}


def act(user: str, item: str, value: float | None, kind: InteractionType) -> Interaction:
    return Interaction(event_id=f"{user}-{item}", user=user, item=item, type=kind, time=0, value=value)


def rated(user: str, item: str, value: float | None) -> Interaction:
    return act(user, item, value, InteractionType.RATING)


def found(events: list[Interaction], histories: dict[str, History], most: int = 100) -> list[UserRatings]:
    return list(new_ratings(events, lambda user: histories.get(user, ()), ROWS.__getitem__, most))


def test_each_user_has_their_new_ratings_after_the_known_ones() -> None:
    known = Act.of(rated("ann", "i7", 2.0)), Act.of(act("ann", "i8", 9.0, InteractionType.PURCHASE))
    events = [rated("bob", "i1", 3.0), rated("ann", "i2", 4.0), rated("bob", "i3", 5.0)]
    bob, ann = found(events, {"ann": known})
    assert (bob.rows.tolist(), bob.values.tolist(), bob.first_new, bob.known) == ([1, 3], [3.0, 5.0], 0, 0)
    assert (ann.rows.tolist(), ann.values.tolist(), ann.first_new, ann.known) == ([7, 2], [2.0, 4.0], 1, 1)


def test_only_ratings_with_a_value_are_ratings() -> None:
    assert found([rated("ann", "i1", None), act("ann", "i2", 5.0, InteractionType.VIEW)], {}) == []


def test_pieces_are_bounded_and_have_the_ratings_just_before_them() -> None:
    events = [rated("ann", f"i{number}", 4.0) for number in range(AT_ONCE + 10)]
    history = tuple(Act.of(rated("ann", f"i{number}", 3.0)) for number in range(190, 200))
    first, second = found(events, {"ann": history}, most=4)
    assert (first.rows.tolist(), first.known) == ([196, 197, 198, 199, *range(AT_ONCE)], 10)
    assert second.rows.tolist() == list(range(AT_ONCE - 4, AT_ONCE + 10))
    assert (second.first_new, second.known) == (4, 10 + AT_ONCE)
