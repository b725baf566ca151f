"""The items of a response as fields: what they are, and why they stand where they do."""

from __future__ import annotations

from typing import Any

from consumers.serve.explanation import Explanation
from consumers.serve.ranking import Answer
from consumers.serve.state.serving_state import View
from pipeline.events import Item
from pipeline.rules.compiled import Shaping
from pipeline.rules.slate import Slate

ResponseFields = dict[str, Any]
"""The fields of a response, ready to be serialised."""


def item_fields(view: View, answer: Answer, shaping: Shaping, explain: bool) -> list[ResponseFields]:
    """Return the fields of each item of an answer; `explain` adds why it is there."""
    index, rows = view.index, answer.rows
    ids, entries = map(index.ids.__getitem__, rows), map(index.entries.__getitem__, rows)
    items = list(map(_shown, ids, entries, answer.scores))
    if not explain:
        return items
    return [
        {**item, **_why(row, explanation, answer.slate, shaping)}
        for item, row, explanation in zip(items, answer.rows, answer.explanations or (), strict=True)
    ]


def _shown(item: str, entry: Item | None, score: float) -> ResponseFields:
    title, category = (entry.title, entry.category) if entry else (None, None)
    return {
        "item": item,
        "title": title,
        "category": category,
        "score": score,
        "explanation": None,
        "rules": None,
    }


def _why(row: int, explanation: Explanation, slate: Slate, shaping: Shaping) -> ResponseFields:
    """Explain score and place of an item."""
    place = {"propensity": slate.propensity(row), "explored": row in slate.explored}
    rules = [{"rule": touch.rule, "nats": touch.nats} for touch in shaping.touches(row, slate)]
    return {"explanation": {**_explained(explanation), **place}, "rules": rules}


def _explained(found: Explanation) -> ResponseFields:
    because = found.because
    return {
        "logit": found.logit,
        "parts": found.parts,
        "companion": found.companion,
        "because": {
            "item": because.act.item,
            "type": because.act.type,
            "time": because.act.time,
            "score_without": because.score,
            "place_without": because.place,
        }
        if because
        else None,
    }
