"""Guess what columns are by their names and values; what cannot be known is a question, not a guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC

from pipeline.datasets.cells import (
    DIVIDED_DATE,
    NO_VALUE,
    SERIAL_DATE,
    TIME_OF_DAY,
    Decimals,
    moment,
    number,
    order_of,
    plain_text,
    proven_decimal,
)
from pipeline.datasets.mapping import InteractionMapping, ItemMapping, Layout, Mapping, TimeForm
from pipeline.events import InteractionType

COLUMN_NAMES = {
    "event_id": "eventid eventuuid uuid insertid messageid rowid id",
    "user": "userid user customerid customer visitorid memberid clientid accountid userpseudoid reviewerid "
    "uid username buyer person shopper viewer who",
    "item": "itemid item productid product sku stockcode articleid article parentasin asin movieid contentid "
    "newsid trackid songid bookid isbn iid what",
    "time": "timestamp eventtime eventtimestamp datetime time createdat occurredat invoicedate orderdate "
    "date ts unixtime unixreviewtime when",
    "type": "eventtype eventname event action interactiontype interaction behaviortype behavior "
    "behaviour type",
    "value": "rating stars score overall quantity qty value amount count",
    "session": "sessionid session visitid usersession orderid ordernumber order invoiceno invoice basketid "
    "basket transactionid cartid",
    "title": "title itemname productname itemtitle producttitle movietitle name description",
    "category": "category categorycode categoryname maincategory genre genres department categoryid",
}
"""Names of columns by field, without case and separators, the surest first."""
ATTRIBUTE_NAMES = {
    "brand": "text",
    "price": "number",
    "unitprice": "number",
    "color": "text",
    "colour": "text",
}
TYPE_NAMES = {
    InteractionType.VIEW: "view views pageview pv productview viewitem detail detailproductview visit",
    InteractionType.CLICK: "click clicks clicked selectitem",
    InteractionType.CART: "cart addtocart addcart addtobasket basket",
    InteractionType.PURCHASE: "purchase purchased buy bought order ordered ordercompleted transaction "
    "checkout sale",
    InteractionType.RATING: "rating rate rated review",
    InteractionType.LIKE: "like liked fav favorite favourite wishlist addtowishlist thumbsup upvote",
    InteractionType.DISLIKE: "dislike disliked thumbsdown downvote hide hidden notinterested",
    InteractionType.SKIP: "skip skipped",
    InteractionType.RETURN: "return returned refund refunded",
}
PATTERNS = (
    "%Y%m%d",
    "%Y%m%d%H%M%S",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S UTC",
    "%d %b %Y",
    "%b %d, %Y",
    "%d-%b-%Y",
    "%d/%b/%Y:%H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
)
"""Forms of times that leave no doubt, besides ISO 8601."""
WIDTHS = {"%Y%m%d": 8, "%Y%m%d%H%M%S": 14}
"""Digits of forms that are digits alone: strptime takes fewer, too, such as the ten of seconds since 1970."""
UNTIL = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": 1e20}
"""Numbers below these count seconds and so on; as seconds it is the year 5138."""
Samples = dict[str, list[object]]


def guess(samples: Samples, layout: Layout) -> tuple[Mapping | None, list[str]]:
    """Guess a mapping.

    Args:
        samples: values of each column that are not missing.
        layout: of the files.

    Returns:
        The mapping, that of a catalogue if there are items and no user; None if there is no user or no item;
        and what is to be checked or answered.
    """
    names, warnings = columns_by_field(samples), list[str]()
    if is_time_of_day(samples.get(names.get("time", ""), [])):
        warnings.append(
            f"{names['time']} has no dates, and is not read; acts of a date are in the order of their rows, "
            "unless date and time stand in one column"
        )
        names = columns_by_field(column for column in samples if column != names["time"])
    if catalogue := _catalogue(samples, names, layout, warnings):
        return catalogue, warnings
    if "user" not in names and "session" in names:
        names["user"] = names["session"]
        warnings.append(
            f"no column looks like the user: each {names['user']} is taken for one, who is new every time"
        )
    missing = [field for field in ("user", "item") if field not in names]
    if missing:
        return None, [f"no column looks like the {' or the '.join(missing)}: name it in a mapping"]
    warnings += _check_ids(samples, names)
    types = _types(samples, names, warnings)
    if "time" not in names:
        warnings.append("no column looks like the time: the rows are taken to be in order of time")
    wanted = ("user", "item", "time", "value", "session", "event_id")
    fields = {field: names[field] for field in wanted if field in names}
    kind = names["type"] if types else {"default": _only_type(names)}
    decimal = _decimal(samples, names)
    made = Mapping(
        layout=layout.model_copy(update={"decimal": decimal, "sorted": "time" not in names}),
        interactions=InteractionMapping.model_validate({**fields, "type": kind}),
        time=TimeForm(format=time_format(samples.get(names.get("time", ""), []))),
        types={called: found for called, found in types.items() if called != found},
        items=_items(samples, names, decimal, warnings),
    )
    return made, warnings


def columns_by_field(samples: Iterable[str]) -> dict[str, str]:
    """Return the column of each field that one is named like; a column has one field."""
    plain = {_plain(column): column for column in reversed(list(samples))}
    found: dict[str, str] = {}
    for field, names in COLUMN_NAMES.items():
        for name in names.split():
            if name in plain and plain[name] not in found.values():
                found[field] = plain[name]
                break
    return found


def time_format(values: Sequence[object]) -> str | None:
    """Guess the format of times; None if they are read without one, or are of no known form."""
    texts = [plain_text(value) for value in values if isinstance(value, str | int | float)]
    are_texts = all(isinstance(value, str) for value in values)
    if not texts or (are_texts and _reads_all(texts, None)):
        return None
    widths = {len(text) for text in texts}
    for pattern in PATTERNS:
        has_width = pattern not in WIDTHS or widths == {WIDTHS[pattern]}
        if has_width and _reads_all(texts, pattern):
            return pattern
    if all(SERIAL_DATE.fullmatch(text) for text in texts):
        return "excel"
    if all(re.fullmatch(r"\d+(\.\d+)?", text) for text in texts):
        largest = max(map(float, texts))
        return next((unit for unit, until in UNTIL.items() if largest < until), None)
    return None


def is_time_of_day(values: Sequence[object]) -> bool:
    """Whether there are times, and all are without a date."""
    texts = [plain_text(value) for value in values if isinstance(value, str)]
    return bool(texts) and all(map(TIME_OF_DAY.fullmatch, texts))


def is_ambiguous(values: Sequence[object]) -> bool:
    """Whether there are dates with day and month, and none of them proves their order."""
    texts = [plain_text(value) for value in values if isinstance(value, str)]
    divided = [text for text in texts if DIVIDED_DATE.fullmatch(text)]
    return bool(divided) and not any(map(order_of, divided))


def _catalogue(
    samples: Samples, names: dict[str, str], layout: Layout, warnings: list[str]
) -> Mapping | None:
    """The mapping of rows that describe items and no acts; None if these are no such rows."""
    item = names.get("item") or names.get("event_id")
    if item is None or "user" in names or "session" in names:
        return None
    decimal = _decimal(samples, {})
    items = _items(samples, {**names, "item": item}, decimal, warnings)
    if items is None:
        return None
    return Mapping(layout=layout.model_copy(update={"decimal": decimal}), items=items)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].lower())


def _reads_all(texts: Sequence[str], pattern: str | None) -> bool:
    with suppress(ValueError):
        for text in texts:
            if pattern is not None or not DIVIDED_DATE.fullmatch(text):
                moment(text, pattern, UTC)
        return True
    return False


def _check_ids(samples: Samples, names: dict[str, str]) -> list[str]:
    """An id that several rows have is that of a session, or of nothing."""
    column = names.get("event_id")
    if column is None or len({plain_text(value) for value in samples[column]}) == len(samples[column]):
        return []
    del names["event_id"]
    return [f"{column} is the same for several rows: it is not taken for event_id, which tells events apart"]


def _types(samples: Samples, names: dict[str, str], warnings: list[str]) -> dict[str, InteractionType]:
    """What the rows call the types; empty if no column has any."""
    known = {name: kind for kind, every in TYPE_NAMES.items() for name in every.split()}
    column = names.get("type", "")
    called = list(dict.fromkeys(plain_text(value) for value in samples.get(column, [])))
    types = {name: known[_plain(name)] for name in called if _plain(name) in known}
    unknown = [name for name in called if name not in types]
    if types and unknown:
        warnings.append(
            f"{column} has values that are no known type, and are left out: {', '.join(unknown[:9])}"
        )
    if not types:
        warnings.append(f"no column says the type of act: each is taken for a {_only_type(names)}")
    return types


def _only_type(names: dict[str, str]) -> str:
    if _plain(names.get("value", "")) in ("rating", "stars", "score", "overall"):
        return "rating"
    bought = _plain(names.get("value", "")) in ("quantity", "qty") or re.search(
        "order|invoice|basket|transaction", _plain(names.get("session", ""))
    )
    return "purchase" if bought else "view"


def _decimal(samples: Samples, names: dict[str, str]) -> Decimals | None:
    """What begins the fractions of all numbers; None where they are read without knowing, or nothing says."""
    numbers = [column for column in samples if column == names.get("value") or _is_number(column)]
    texts = [text for column in numbers for text in _number_texts(samples[column])]
    return proven_decimal(texts) if any("," in text for text in texts) else None


def _is_number(column: str) -> bool:
    return ATTRIBUTE_NAMES.get(_plain(column)) == "number"


def _number_texts(values: Iterable[object]) -> list[str]:
    texts = (plain_text(value) for value in values if isinstance(value, str))
    return [text for text in texts if text.lower() not in NO_VALUE]


def _is_read(text: str, decimal: Decimals | None) -> bool:
    try:
        number(text, decimal)
    except ValueError:
        return False
    return True


def _no_numbers(values: Iterable[object], decimal: Decimals | None) -> str | None:
    """The first text that is no number, if most are none; fewer are faults in single rows."""
    texts = _number_texts(values)
    unread = [text for text in texts if not _is_read(text, decimal)]
    return unread[0] if 2 * len(unread) > len(texts) else None


def _attributes(samples: Samples, decimal: Decimals | None, warnings: list[str]) -> dict[str, object]:
    """The columns that describe items; one whose numbers cannot be read would refuse whole rows."""
    found: dict[str, object] = {}
    for column, values in samples.items():
        kind = ATTRIBUTE_NAMES.get(_plain(column))
        example = _no_numbers(values, decimal) if kind == "number" else None
        if example is not None:
            warnings.append(
                f"most values of {column} are no numbers, such as {example!r}, so it is not taken for an "
                "attribute: write them as numbers, or name the column as a text in the mapping"
            )
        elif kind is not None:
            found[_plain(column)] = {"column": column, "kind": kind}
    return found


def _items(
    samples: Samples, names: dict[str, str], decimal: Decimals | None, warnings: list[str]
) -> ItemMapping | None:
    described = {field: names[field] for field in ("title", "category") if field in names}
    if not described:
        return None
    attributes = _attributes(samples, decimal, warnings)
    return ItemMapping.model_validate({"item": names["item"], **described, "attributes": attributes})
