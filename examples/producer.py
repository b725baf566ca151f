"""Write an item and an interaction with it into the event log, and print their wire form.

    millstream topics create
    python examples/producer.py sqlite:///run/log.db millstream

The same program writes to Kafka with kafka://host:port. In another language, write the JSON
that it prints, with the user or the item as the record's key.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing

from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode


def main(url: str = "sqlite:///run/log.db", prefix: str = "millstream") -> None:
    """Append both events and return when they are durable."""
    topics, at = Topics(prefix), int(time.time() * 1000)
    mug = Item(item="85123A", title="White enamel mug", category="kitchen")
    bought = Interaction(
        event_id=f"order-{at}-1",  # the same when the same event is sent again: duplicates go by it
        user="17850",
        item=mug.item,
        type=InteractionType.PURCHASE,
        value=6,
        time=at,
        session=f"order-{at}",
    )
    with closing(open_log(url)) as log, log.writer() as writer:
        for topic, key, event in ((topics.items, mug.item, mug), (topics.interactions, bought.user, bought)):
            writer.append(topic, key, encode(event))
            print(key, encode(event).decode())
        writer.flush()  # raises DeliveryError if the log did not acknowledge everything


if __name__ == "__main__":
    main(*sys.argv[1:])
