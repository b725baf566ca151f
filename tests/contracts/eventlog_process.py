"""Child processes of the contract tests: `python eventlog_process.py append|read URL TOPIC ...`."""

from __future__ import annotations

import sys
import time

from pipeline.eventlog import open_log

FLUSH_EVERY = 10


def append(url: str, topic: str, name: str, count: int) -> None:
    """Append records 0, 1, ... with keys of this process; print the durable count after each flush."""
    with open_log(url) as log, log.writer() as writer:
        for number in range(count):
            writer.append(topic, f"{name}-{number % 3}", str(number).encode())
            if (number + 1) % FLUSH_EVERY == 0:
                writer.flush()
                sys.stdout.write(f"{number + 1}\n")
                sys.stdout.flush()


def read(url: str, topic: str, count: int) -> None:
    """Read `count` records from the beginning; print the key and value of each."""
    deadline = time.monotonic() + 60
    with open_log(url) as log, log.reader(log.begin_offsets([topic])) as reader:
        while count > 0 and time.monotonic() < deadline:
            records = reader.poll(100, timeout_seconds=0.5)
            count -= len(records)
            sys.stdout.writelines(f"{record.key} {(record.value or b'').decode()}\n" for record in records)


if __name__ == "__main__":
    what, *where = sys.argv[1:]
    if what == "append":
        append(where[0], where[1], where[2], int(where[3]))
    else:
        read(where[0], where[1], int(where[2]))
