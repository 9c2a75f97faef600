"""RankEngine against a sorted list."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from sagesched import CostModel, RankEngine, gittins_index

EDGES = np.array([1.0, 4.0, 16.0, 64.0])
COST = CostModel(token=1, memory=0.1, prefill=0.5)
INF = math.inf

pmfs = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=4, max_size=4)
tokens = st.integers(0, 100)


@dataclass(frozen=True)
class Model:
    """What the engine should know of one request."""

    pmf: list[float]
    prompt_len: int
    arrival: float
    age: int
    cached_len: int
    priority: int
    sequence: int

    def index(self) -> float:
        row = gittins_index([self.pmf], EDGES, self.age, self.prompt_len, self.cached_len, COST)
        return float(row[0])

    def key(self, weight: float) -> float:
        log = math.log(self.index())
        return log if weight == INF else self.arrival + weight * log


class Machine(RuleBasedStateMachine):
    """Every state the engine can get into must order like ``sorted``, bit for bit."""

    live = Bundle("live")
    removed = Bundle("removed")

    def __init__(self) -> None:
        super().__init__()
        self.engine = RankEngine(EDGES, COST)
        self.weight = INF
        self.model: dict[int, Model] = {}
        self.added = 0

    @rule(
        target=live,
        pmf=pmfs,
        prompt_len=tokens,
        arrival=st.integers(0, 3),
        age=tokens,
        cached_len=tokens,
        priority=st.integers(-1, 1),
    )
    def add(self, pmf: list[float], prompt_len: int, arrival: int, **rest: int) -> int:
        handle = self.engine.add(pmf, prompt_len, arrival, **rest)
        assert handle not in self.model
        self.model[handle] = Model(pmf, prompt_len, arrival, sequence=self.added, **rest)
        self.added += 1
        return handle

    @rule(target=removed, handle=consumes(live))
    def remove(self, handle: int) -> int:
        self.engine.remove(handle)
        del self.model[handle]
        return handle

    @rule(changes=st.lists(st.tuples(live, tokens), max_size=4))
    def update_age(self, changes: list[tuple[int, int]]) -> None:
        self.engine.update_age([h for h, _ in changes], [a for _, a in changes])
        for handle, age in changes:
            self.model[handle] = replace(self.model[handle], age=age)

    @rule(changes=st.lists(st.tuples(live, tokens), max_size=4))
    def set_cached_prefix(self, changes: list[tuple[int, int]]) -> None:
        self.engine.set_cached_prefix([h for h, _ in changes], [n for _, n in changes])
        for handle, length in changes:
            self.model[handle] = replace(self.model[handle], cached_len=length)

    @rule(weight=st.sampled_from([0.0, 0.5, 3.0, INF]))
    def set_index_weight(self, weight: float) -> None:
        self.engine.set_index_weight(weight)
        self.weight = weight

    @rule(stale=removed, good=st.lists(live, max_size=2))
    def stale_handles_are_refused(self, stale: int, good: list[int]) -> None:
        assert stale not in self.engine
        with pytest.raises(KeyError, match=str(stale)):
            self.engine.remove(stale)
        with pytest.raises(KeyError, match=str(stale)):
            self.engine.update_age([*good, stale], [77] * (len(good) + 1))

    @rule(target=live, count=st.integers(2, 5), pmf=pmfs)
    def add_equal_ones(self, count: int, pmf: list[float]) -> Any:
        return multiple(
            *(self.add(pmf, 5, 1, age=0, cached_len=0, priority=0) for _ in range(count))
        )

    @invariant()
    def order_is_that_of_sorted(self) -> None:
        def rank(handle: int) -> tuple[int, float, int]:
            request = self.model[handle]
            return request.priority, request.key(self.weight), request.sequence

        expected = sorted(self.model, key=rank)
        assert len(self.engine) == len(expected)
        for k in (0, 1, len(expected) // 2, len(expected), len(expected) + 7):
            assert self.engine.top(k).tolist() == expected[:k]
        for handle, request in self.model.items():
            assert self.engine.index(handle) == request.index()
            assert self.engine.key(handle) == request.key(self.weight)


Machine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAgainstSorted = Machine.TestCase


def engine_of(*rows: list[float], weight: float = INF) -> tuple[RankEngine, list[int]]:
    engine = RankEngine(EDGES, index_weight=weight)
    return engine, [engine.add(row, 10, arrival) for arrival, row in enumerate(rows)]


LONG, SHORT = [0.0, 0, 0, 1], [1.0, 0, 0, 0]


def test_weight_moves_from_arrival_order_to_the_index() -> None:
    engine, (long, middle, short) = engine_of(LONG, [0.0, 0, 1, 0], SHORT, weight=0)
    assert engine.top(3).tolist() == [long, middle, short]
    engine.set_index_weight(INF)
    assert engine.top(3).tolist() == [short, middle, long]
    # ln(index) is 7.9, 5.7 and 2.4: at 0.4 the middle one gains 0.9 on its predecessor, less than
    # the 1.0 it came later, and the short one 1.3 on the middle one.
    engine.set_index_weight(0.4)
    assert engine.index_weight == 0.4
    assert engine.top(3).tolist() == [short, long, middle]


def test_ties_go_by_insertion_even_in_reused_slots() -> None:
    engine, handles = engine_of(SHORT, SHORT, SHORT)
    engine.remove(handles[0])
    late = engine.add(SHORT, 10, 0)
    assert engine.top(9).tolist() == [*handles[1:], late]


def test_many_cycles_leak_no_slot() -> None:
    engine = RankEngine(EDGES)
    queue: list[int] = []
    for i in range(200_000):
        queue.append(engine.add(SHORT, 10, i))
        if len(queue) == 50:
            engine.remove(queue.pop(i % 50))
    for handle in queue:
        engine.remove(handle)
    assert len(engine) == 0
    assert engine.slots == 50
    assert engine.top(1).size == 0


def test_a_hundred_thousand_requests() -> None:
    engine = RankEngine(EDGES)
    handles = [engine.add(SHORT, 100_000 - i, i) for i in range(100_000)]
    assert len(engine) == engine.slots == 100_000
    assert engine.top(3).tolist() == handles[:-4:-1]


def test_pmf_is_copied() -> None:
    engine = RankEngine(EDGES)
    row = np.array(SHORT)
    handle = engine.add(row, 10, 0)
    index = engine.index(handle)
    row[:] = LONG
    engine.update_age([handle], [0])
    assert engine.index(handle) == index


def test_handles_and_values_of_any_integer_type() -> None:
    engine, handles = engine_of(LONG, SHORT)
    engine.update_age(np.array(handles, dtype=np.uint64), np.array([20, 0], dtype=np.int16))
    engine.update_age([], [])
    engine.set_cached_prefix(tuple(handles), (3.0, 4.0))
    assert engine.index(handles[0]) == gittins_index([LONG], EDGES, 20, 10, 3)[0]
    assert engine.top(np.int64(1)).dtype == np.int64


GOOD: dict[str, Any] = {"pmf": SHORT, "prompt_len": 10, "arrival": 0.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pmf": [1, math.nan, 0, 0]}, "column 1 is nan"),
        ({"pmf": [1, 0, -1, 0]}, "column 2 is -1"),
        ({"pmf": [1, 0, 0]}, r"pmf has shape \(3,\).*\(4,\)"),
        ({"pmf": [SHORT]}, r"pmf has shape \(1, 4\)"),
        ({"prompt_len": -1}, "prompt_len is -1"),
        ({"prompt_len": math.nan}, "prompt_len is nan"),
        ({"age": INF}, "age is inf"),
        ({"cached_len": -2}, "cached_len is -2"),
        ({"arrival": -0.5}, "arrival is -0.5"),
        ({"arrival": math.nan}, "arrival is nan"),
        ({"arrival": INF}, "arrival is inf"),
    ],
)
def test_bad_requests_are_refused(change: dict[str, Any], message: str) -> None:
    engine = RankEngine(EDGES)
    with pytest.raises(ValueError, match=message):
        engine.add(**{**GOOD, **change})
    assert (len(engine), engine.slots) == (0, 0)


@pytest.mark.parametrize(
    "change", [{"pmf": "abcd"}, {"pmf": ["1"] * 4}, {"prompt_len": "9"}, {"priority": 0.5}]
)
def test_wrong_types_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        RankEngine(EDGES).add(**{**GOOD, **change})


def test_bad_updates_change_nothing() -> None:
    engine, (long, short) = engine_of(LONG, SHORT)
    index = engine.index(long)
    with pytest.raises(ValueError, match="age row 1 is -1"):
        engine.update_age([long, short], [5, -1])
    with pytest.raises(ValueError, match="cached_len row 0 is nan"):
        engine.set_cached_prefix([long], [math.nan])
    with pytest.raises(ValueError, match=r"has shape \(1,\); expected \(2,\)"):
        engine.update_age([long, short], [5])
    with pytest.raises(TypeError, match="handles has dtype float64; expected integers"):
        engine.update_age([1.0], [5])
    assert engine.index(long) == index


def test_bad_engines_and_arguments() -> None:
    with pytest.raises(ValueError, match="support is empty"):
        RankEngine([])
    with pytest.raises(ValueError, match="support column 1"):
        RankEngine([4, 4])
    engine = RankEngine(EDGES)
    for bad in (-1.0, math.nan, -INF):
        with pytest.raises(ValueError, match="index_weight"):
            engine.set_index_weight(bad)
        with pytest.raises(ValueError, match="index_weight"):
            RankEngine(EDGES, index_weight=bad)
    with pytest.raises(ValueError, match="k is -1"):
        engine.top(-1)


@pytest.mark.parametrize("handle", [0, 1, -1, 2**32, 2**62])
def test_unknown_handles_are_named(handle: int) -> None:
    engine = RankEngine(EDGES)
    for call in (engine.remove, engine.index, engine.key):
        with pytest.raises(KeyError, match=f"handle {handle} is unknown"):
            call(handle)
