"""A burst does not keep the event loop: ``sagesched.plugin.turns``, and answers in portions."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from sagesched.plugin.turns import MOST_A_TURN, Turns
from sagesched.predict.operations import ANSWERS_A_TURN, _resolve


class Clock:
    """Counts turns of the running loop until it is stopped."""

    def __init__(self) -> None:
        self.turn = 0
        self.running = True
        self._tick()

    def _tick(self) -> None:
        self.turn += 1
        if self.running:
            asyncio.get_running_loop().call_soon(self._tick)


@pytest.mark.parametrize("requests", [0, 1, MOST_A_TURN, MOST_A_TURN + 1, 100, 1000])
def test_a_turn_takes_a_few_in_the_order_of_their_arrival(requests: int) -> None:
    async def burst() -> list[tuple[int, int]]:
        turns, clock, seen = Turns(), Clock(), []

        async def one(number: int) -> None:
            await turns.take()
            seen.append((clock.turn, number))

        await asyncio.gather(*(one(number) for number in range(requests)))
        clock.running = False
        return seen

    seen = asyncio.run(burst())
    assert [number for _, number in seen] == list(range(requests))
    most = max(Counter(turn for turn, _ in seen).values(), default=0)
    assert most <= MOST_A_TURN
    assert len({turn for turn, _ in seen}) <= requests // MOST_A_TURN + 2


def test_nobody_is_woken_before_its_turn() -> None:
    """A burst of n costs the loop n steps: whoever waits does not look at every turn."""

    async def burst() -> int:
        turns, steps = Turns(), 0

        class Counted:
            def __init__(self, coroutine: Any) -> None:
                self.inner = coroutine.__await__()

            def __await__(self) -> Any:
                nonlocal steps
                for waits_for in self.inner:
                    steps += 1
                    yield waits_for

        await asyncio.gather(*(_await(Counted(turns.take())) for _ in range(400)))
        return steps

    async def _await(counted: Any) -> None:
        await counted

    assert asyncio.run(burst()) <= 400


def test_one_that_is_cancelled_while_it_waits_takes_nobodys_turn() -> None:
    async def burst() -> int:
        turns, done = Turns(), 0

        async def one() -> None:
            nonlocal done
            await turns.take()
            done += 1

        tasks = [asyncio.create_task(one()) for _ in range(40)]
        await asyncio.sleep(0)
        for task in tasks[20:30]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done

    assert asyncio.run(burst()) == 30


def test_answers_come_in_portions_and_all_of_them_do() -> None:
    async def burst() -> list[int]:
        loop = asyncio.get_running_loop()
        answers: list[Any] = [loop.create_future() for _ in range(50)]
        answers[7].cancel()
        clock, seen = Clock(), []

        async def wait(answer: Any) -> None:
            await answer
            seen.append(clock.turn)

        tasks = [asyncio.create_task(wait(answer)) for answer in answers]
        await asyncio.sleep(0)
        loop.call_soon_threadsafe(_resolve, loop, iter([(answer, None) for answer in answers]))
        await asyncio.gather(*tasks, return_exceptions=True)
        clock.running = False
        return seen

    seen = asyncio.run(burst())
    assert len(seen) == 49
    assert max(Counter(seen).values()) <= ANSWERS_A_TURN
