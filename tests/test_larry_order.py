"""LARRY's order of one waiting queue, without SGLang: ``sagesched.plugin.larry``."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.plugin.larry import NEWCOMERS_PER_PASS, LarryOrder
from sagesched.plugin.place import place_of

from .test_queue_order import Request, no_prefix, point


class Engine:
    """What the order reads of an engine."""

    def __init__(self, dial: float = 1.0, kv_use: float = 1.0) -> None:
        self.kv_use = kv_use
        self.processed = 0
        self.order = LarryOrder(dial, lambda: self.kv_use, lambda: self.processed)
        self.queue: list[Any] = []

    def arrive(self, name: str, prompt: int, produced: int = 0, **more: Any) -> Request:
        request = Request(name, prompt, produced)
        self.queue.append(request)
        self.order.enter(request, 0, None, **more)
        return request

    def ranked(self, prefix: Any = no_prefix) -> list[str]:
        self.order.rank(self.queue, len(self.queue), prefix)
        return [request.name for request in self.queue]

    def serve(self, prefix: Any = no_prefix) -> Request:
        """Admit the first one."""
        self.ranked(prefix)
        first: Request = self.queue.pop(0)
        self.processed += len(first.origin_input_ids)
        self.order.settle(self.queue)
        return first


def test_small_prompts_come_first_when_many_tokens_wait() -> None:
    engine = Engine()
    for name, prompt in (("big", 9000), ("small", 30), ("middle", 900), ("tiny", 3)):
        engine.arrive(name, prompt)
    assert engine.ranked() == ["tiny", "small", "middle", "big"]


def test_dial_zero_is_first_come_first_served() -> None:
    engine = Engine(0.0)
    for name, prompt in (("big", 9000), ("small", 30)):
        engine.arrive(name, prompt)
        engine.processed += 10
    assert engine.ranked() == ["big", "small"]


def test_with_little_waiting_an_older_request_is_not_overtaken() -> None:
    engine = Engine()
    engine.arrive("older", 2000)
    engine.processed += 1_000_000
    engine.arrive("newer", 3)
    assert engine.ranked() == ["older", "newer"]


def test_predictions_are_ignored() -> None:
    engine = Engine(math.inf)
    for name, prompt, length in (("long", 10, 4000), ("short", 900, 2)):
        request = Request(name, prompt)
        engine.queue.append(request)
        engine.order.enter(request, 0, point(length))
    assert engine.ranked() == ["long", "short"]


def test_a_cached_prompt_has_little_to_prefill() -> None:
    engine = Engine(math.inf, kv_use=0.0)
    engine.arrive("new", 500)
    engine.arrive("cached", 4000)
    assert engine.ranked(lambda request: 3900 if request.name == "cached" else 0) == [
        "cached",
        "new",
    ]


def test_under_pressure_what_a_cached_prompt_pins_counts_too() -> None:
    hits = {"cached": 3900}

    def order(kv_use: float) -> list[str]:
        engine = Engine(math.inf, kv_use)
        engine.arrive("new", 500)
        engine.arrive("cached", 4000)
        return engine.ranked(lambda request: hits.get(request.name, 0))

    assert order(0.0) == ["cached", "new"]
    assert order(1.0) == ["new", "cached"]


def test_pressure_that_changes_reaches_those_that_wait() -> None:
    engine = Engine(math.inf, kv_use=0.0)
    engine.arrive("new", 500)
    engine.arrive("cached", 4000)

    def prefix(request: Any) -> int:
        return 3900 if request.name == "cached" else 0

    assert engine.ranked(prefix) == ["cached", "new"]
    engine.kv_use = 1.0
    assert engine.ranked(prefix) == ["new", "cached"]


def test_the_more_pressure_the_further_a_large_request_is_pushed_back() -> None:
    def reach(kv_use: float) -> float:
        engine = Engine(1.0, kv_use)
        for i in range(40):
            engine.arrive(f"r{i}", 200)
        engine.ranked()
        return engine.order.keys.reach

    assert reach(1.0) > reach(0.5) > reach(0.0) > 0.0


def test_lookups_are_bounded_and_each_newcomer_has_one() -> None:
    engine = Engine()
    asked: list[str] = []

    def prefix(request: Any) -> int:
        asked.append(request.name)
        return 0

    for i in range(3 * NEWCOMERS_PER_PASS):
        engine.arrive(f"r{i}", 200)
    for _ in range(3):
        before = len(asked)
        engine.ranked(prefix)
        assert len(asked) - before <= NEWCOMERS_PER_PASS + 8
    assert set(asked) == {f"r{i}" for i in range(3 * NEWCOMERS_PER_PASS)}


def test_the_backlog_is_what_is_to_be_prefilled() -> None:
    engine = Engine()
    engine.arrive("a", 1000)
    engine.arrive("b", 500)
    assert engine.order.backlog == 1500
    engine.ranked(lambda request: 400 if request.name == "a" else 0)
    assert engine.order.backlog == 1100
    engine.queue.clear()
    engine.order.settle(engine.queue)
    assert engine.order.backlog == 0


def test_a_retracted_request_keeps_its_arrival_and_prefills_its_output_again() -> None:
    engine = Engine()
    request = engine.arrive("r", 100)
    assert engine.serve() is request
    since = place_of(request).since  # type: ignore[union-attr]
    engine.processed += 5000
    request.output_ids = [1] * 50
    engine.queue.append(request)
    engine.order.enter(request, 7, None)
    assert place_of(request).since == since  # type: ignore[union-attr]
    assert engine.order.backlog == 150


def test_who_opted_out_is_ranked_as_an_average_request() -> None:
    engine = Engine(math.inf)
    for i in range(200):
        engine.arrive(f"old{i}", 10 if i % 2 else 4000)
        engine.serve()
    engine.arrive("big", 4000)
    engine.arrive("off", 20_000, opted_out=True)
    engine.arrive("small", 10)
    assert engine.ranked() == ["small", "off", "big"]


@settings(max_examples=40)
@given(st.data())
def test_nobody_is_overtaken_by_who_comes_a_reach_later(data: st.DataObject) -> None:
    """However they look: once ``reach`` tokens were processed, newcomers stay behind."""
    engine = Engine(data.draw(st.sampled_from([0.5, 1.0, 4.0])), data.draw(st.floats(0.0, 1.0)))
    sizes = st.integers(1, 20_000)
    victim = engine.arrive("victim", data.draw(sizes))
    most_reach, overtook = 0.0, 0.0
    for i in range(data.draw(st.integers(1, 60))):
        engine.arrive(f"r{i}", data.draw(sizes))
        served = engine.serve()
        most_reach = max(most_reach, engine.order.keys.reach)
        if served is victim:
            break
        overtook = max(overtook, place_of(served).since)  # type: ignore[union-attr]
    assert overtook <= most_reach


def test_equal_calls_give_equal_orders() -> None:
    def served() -> list[str]:
        engine = Engine(1.0, 0.6)
        names = []
        for i in range(300):
            engine.arrive(f"r{i}", 1 + (i * 7919) % 5000)
            engine.kv_use = (i % 10) / 10
            if i % 3:
                names.append(engine.serve().name)
        return names

    assert served() == served()


@pytest.mark.parametrize("dial", [0.0, 1.0, math.inf])
def test_everybody_is_served(dial: float) -> None:
    engine = Engine(dial)
    for i in range(100):
        engine.arrive(f"r{i}", 1 + (i * 37) % 400)
    assert len({engine.serve().name for _ in range(100)}) == 100
    assert len(engine.order) == engine.order.backlog == 0


def test_who_has_left_is_not_held_also_where_nothing_is_ordered() -> None:
    engine = Engine()
    gone = []
    for number in range(10 * NEWCOMERS_PER_PASS):
        gone.append(weakref.ref(engine.arrive(f"{number}", 100)))
        if number % 2:
            engine.order.look(engine.queue, no_prefix)
        engine.queue.clear()
        engine.order.settle(engine.queue)
    gc.collect()
    assert not [reference for reference in gone if reference() is not None]
    engine.order.look(engine.queue, no_prefix)
    for _ in range(10):
        engine.order.look(engine.queue, no_prefix)
    assert not engine.order._newcomers


def test_who_opted_out_stays_level_whatever_is_cached_and_however_full_memory_is() -> None:
    engine = Engine(kv_use=0.2)
    for number in range(20):
        engine.arrive(f"{number}", 40 * number + 10)
    level = [engine.arrive("new", 800, opted_out=True), engine.arrive("seen", 800, opted_out=True)]

    def keys() -> list[float]:
        handles = [place_of(request).handle for request in level]  # type: ignore[union-attr]
        return [engine.order._engine.key(handle) for handle in handles]

    for use in (0.2, 1.0, 0.0):
        engine.kv_use = use
        for _ in range(8):
            engine.ranked(lambda request: 780 if request.name == "seen" else 0)
        new, seen = keys()
        assert seen == pytest.approx(new, abs=0.01)
