"""Read documents of MongoDB, which Debezium writes as texts: JSON in which values name their types.

https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
"""

from __future__ import annotations

import orjson

TYPES = frozenset({"$oid", "$uuid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"})
"""Names of types whose values are texts or numbers that say what they are without them."""
MOST_LEVELS = 100
"""As deep as documents of MongoDB may be; what is deeper stays as it is."""


def read_text(text: str) -> object:
    """Return what a text holds, values without the names of their types.

    Raises:
        ValueError: it is no JSON.

    >>> read_text('{"_id": {"$oid": "5f1e"}, "at": {"$date": {"$numberLong": "9"}}}')
    {'_id': '5f1e', 'at': '9'}
    """
    return _plain(orjson.loads(text), MOST_LEVELS)


def _plain(value: object, levels: int) -> object:
    if levels == 0:
        return value
    if isinstance(value, list):
        return [_plain(part, levels - 1) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and value.keys() <= TYPES:
        return _plain(next(iter(value.values())), levels - 1)
    return {name: _plain(part, levels - 1) for name, part in value.items()}
