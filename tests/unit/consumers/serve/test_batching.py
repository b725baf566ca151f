"""Requests share passes; a lone one waits for no others, and none fails for another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import Event

import pytest

from consumers.serve.batching import MOST_AT_ONCE, Batches


def test_what_waits_during_a_pass_shares_the_next_in_its_order() -> None:
    passes, first_began, may_end = list[list[int]](), Event(), Event()

    def answer(requests: Sequence[int]) -> list[int]:
        passes.append(list(requests))
        if len(passes) == 1:
            first_began.set()
            may_end.wait(10)
        return [-request for request in requests]

    async def ask() -> list[int]:
        batches = Batches(answer)
        first = asyncio.create_task(batches.ask(0))
        await asyncio.to_thread(first_began.wait, 10)
        others = [asyncio.create_task(batches.ask(number)) for number in range(1, MOST_AT_ONCE + 3)]
        await asyncio.sleep(0)
        may_end.set()
        return [await first, *(await asyncio.gather(*others))]

    assert asyncio.run(ask()) == [-number for number in range(MOST_AT_ONCE + 3)]
    assert [len(one) for one in passes] == [1, MOST_AT_ONCE, 2]


def test_after_a_pass_of_several_the_next_waits_for_more_and_a_lone_request_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.serve.batching.GATHER_SECONDS", 0.5)
    passes = list[list[int]]()

    def answer(requests: Sequence[int]) -> list[int]:
        passes.append(list(requests))
        return list(requests)

    async def ask() -> None:
        batches = Batches(answer)
        for number in (0, 1):
            await batches.ask(number)
        await asyncio.gather(batches.ask(2), batches.ask(3))
        fourth = asyncio.create_task(batches.ask(4))
        await asyncio.sleep(0.02)
        await asyncio.gather(fourth, batches.ask(5))

    asyncio.run(ask())
    assert passes == [[0], [1], [2, 3], [4, 5]]


def test_a_request_that_fails_does_not_fail_the_others() -> None:
    def answer(requests: Sequence[int]) -> list[int]:
        if 1 in requests:
            raise ValueError("one")
        return list(requests)

    async def ask() -> list[int | BaseException]:
        batches = Batches(answer)
        return await asyncio.gather(*(batches.ask(number) for number in range(3)), return_exceptions=True)

    zero, one, two = asyncio.run(ask())
    assert (zero, two) == (0, 2)
    assert isinstance(one, ValueError)


def test_who_gave_up_is_not_answered() -> None:
    async def ask() -> int:
        batches = Batches[int, int](list)
        given_up = asyncio.create_task(batches.ask(1))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return await batches.ask(2)

    assert asyncio.run(ask()) == 2
