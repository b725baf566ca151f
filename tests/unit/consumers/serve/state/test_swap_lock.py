"""Many read at a time; a swap waits for them, and those that come later for the swap."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

from consumers.serve.state.swap_lock import SwapLock


def test_readers_do_not_wait_for_each_other() -> None:
    lock, together = SwapLock(), Barrier(2)

    def read() -> None:
        with lock.reading():
            together.wait(10)

    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(read) for _ in range(2)]:
            one.result()


def test_a_swap_waits_for_readers_and_new_readers_for_the_swap() -> None:
    lock, order = SwapLock(), list[str]()
    reading, may_end, swapping = Event(), Event(), Event()

    def read_first() -> None:
        with lock.reading():
            reading.set()
            may_end.wait(10)
            order.append("first")

    def swap() -> None:
        reading.wait(10)
        swapping.set()
        with lock.swapping():
            order.append("swap")

    def read_later() -> None:
        swapping.wait(10)
        while not lock._is_swapping:  # the swap waits by then
            pass
        may_end.set()
        with lock.reading():
            order.append("later")

    with ThreadPoolExecutor(3) as threads:
        for one in [threads.submit(task) for task in (read_first, swap, read_later)]:
            one.result()
    assert order == ["first", "swap", "later"]
