"""Make small data sets of six trades, each in the form in which such trades export it.

python examples/cookbook/make.py cookbook-data
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

USERS, DAYS, EVENTS = 30, 14, 400
ZURICH = ZoneInfo("Europe/Zurich")
START = datetime(2024, 5, 1, 8, tzinfo=UTC)
Rows = Iterable[Sequence[object]]


def shop(folder: Path, random: Random) -> None:
    """Orders as nested JSON with lines; products as csv from a German spreadsheet."""
    names = [f"{colour} {thing}" for colour in ("Weiße", "Rote", "Grüne") for thing in ("Tasse", "Schüssel")]
    products = [
        (f"SKU-{n}", name, "Küche", f"{5 + n},{n}0", 3 * n) for n, name in enumerate(names)
    ]  # the first is sold out
    _table(
        folder / "produkte.csv", ["Artikel", "Name", "Abteilung", "Preis", "Bestand"], products, ";", "cp1252"
    )
    _lines(
        folder / "orders.jsonl",
        (
            {
                "order": {
                    "number": f"O-{number}",
                    "placed": when.isoformat(),
                    "lines": [
                        {"sku": sku, "quantity": random.randint(1, 3)}
                        for sku, *_ in random.sample(products, random.randint(1, 3))
                    ],
                },
                "customer": {"id": f"c{random.randrange(USERS)}"},
            }
            for number, when in enumerate(_times(random, EVENTS // 4))
        ),
    )


def video(folder: Path, random: Random) -> None:
    """A player's events, with the film in each of them; how long it was watched, in milliseconds."""
    films = [(f"f{n}", f"The {word}", genres) for n, (word, genres) in enumerate(FILMS)]
    rows = []
    for when in _times(random, EVENTS):
        film, title, genres = random.choice(films)
        event = random.choices(["play_stopped", "finished", "thumbs_down", "paused"], [6, 2, 1, 3])[0]
        watched = random.randint(1_000, 7_000_000)
        content = {"id": film, "title": title, "genres": genres}
        rows.append(
            {
                "profile": f"p{random.randrange(USERS)}",
                "event": event,
                "at": when.isoformat(),
                "content": content,
            }
            | ({"watched_ms": watched} if event == "play_stopped" else {})
        )
    _lines(folder / "player.jsonl", rows)


def news(folder: Path, random: Random) -> None:
    """Clicks as csv, articles as JSONL; an article is news for two days."""
    articles = [
        {
            "url": f"/{topic}/{number}",
            "headline": f"{topic.title()} today: part {number}",
            "section": topic,
            "published": (published := START + timedelta(days=number % DAYS)).isoformat(),
            "withdrawn": (published + timedelta(days=2)).isoformat(),
        }
        for number, topic in enumerate(("politics", "sport", "culture") * 10)
    ]
    _lines(folder / "articles.jsonl", articles)
    clicks = [
        (f"cookie-{random.randrange(USERS)}", random.choice(articles)["url"], int(when.timestamp() * 1000))
        for when in _times(random, EVENTS)
    ]
    _table(folder / "clicks.csv", ["visitor", "path", "millis"], clicks)


def social(folder: Path, random: Random) -> None:
    """A feed's actions, packed; what people hide must not come again."""
    posts = [
        (f"post{n}", f"author{n % 7}", f"#{tag} thought {n}") for n, tag in enumerate(["food", "travel"] * 15)
    ]
    actions = ["seen", "hearted", "reshared", "hidden", "not_interested", "scrolled_past"]
    rows = []
    for when in _times(random, EVENTS):
        post, author, text = random.choice(posts)
        action = random.choices(actions, [8, 3, 1, 1, 1, 6])[0]
        rows.append(
            {
                "actor": f"u{random.randrange(USERS)}",
                "verb": action,
                "object": {"post": post, "by": author, "text": text},
                "ts": int(when.timestamp()),
            }
        )
    _lines(folder / "feed.jsonl.gz", rows)


def ads(folder: Path, random: Random) -> None:
    """An impression log: one row for each banner that was shown, clicked or not."""
    rows = []
    for number, when in enumerate(_times(random, 2 * EVENTS)):
        campaign, banner = random.randrange(6), random.randrange(3)
        text = f"Campaign {campaign}, banner {banner}"
        day = when.strftime("%d/%b/%Y:%H:%M:%S +0000")
        shown = (day, f"v{random.randrange(USERS)}", f"page-{number // 3}", f"{campaign}-{banner}", text)
        rows.append((*shown, campaign, int(random.random() < 0.3)))
    _table(
        folder / "banners.tsv",
        ["shown", "visitor", "page", "banner", "text", "campaign", "clicked"],
        rows,
        "\t",
    )


def finance(folder: Path, random: Random) -> None:
    """A broker's trades with local times and decimal commas; to sell says nothing against a paper."""
    papers = [(f"CH{n:010d}", f"{name} AG", sector, risk) for n, (name, sector, risk) in enumerate(PAPERS)]
    _table(folder / "papers.csv", ["ISIN", "Name", "Sektor", "Risiko"], papers, ";")
    trades = [
        (
            f"T{number}",
            f"depot-{random.randrange(USERS)}",
            random.choice(papers)[0],
            random.choices(["BUY", "SELL", "WATCH"], [5, 3, 2])[0],
            f"{random.uniform(1, 90):.2f}".replace(".", ","),
            when.astimezone(ZURICH).strftime("%d.%m.%Y %H:%M"),
        )
        for number, when in enumerate(_times(random, EVENTS))
    ]
    _table(folder / "trades.csv", ["id", "depot", "isin", "side", "amount", "executed"], trades, ";")


FILMS = [
    ("Long Road", ["drama"]),
    ("Last Laugh", ["comedy"]),
    ("Deep Sea", ["documentary"]),
    ("Cold Case", ["crime", "drama"]),
    ("Two Moons", ["science fiction"]),
]
PAPERS = [
    ("Alpenmilch", "food", 2),
    ("Bergbahn", "travel", 4),
    ("Chemie Süd", "chemicals", 3),
    ("Datenwerk", "technology", 5),
]
TRADES: dict[str, Callable[[Path, Random], None]] = {
    "shop": shop,
    "video": video,
    "news": news,
    "social": social,
    "ads": ads,
    "finance": finance,
}


def _times(random: Random, count: int) -> list[datetime]:
    return sorted(START + timedelta(seconds=random.randrange(DAYS * 86_400)) for _ in range(count))


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _table(
    path: Path, header: Sequence[str], rows: Rows, delimiter: str = ",", encoding: str = "utf-8"
) -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def main(target: str = "cookbook-data") -> None:
    """Make all six in a folder each."""
    for name, make in TRADES.items():
        folder = Path(target) / name
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, Random(name))
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
