"""RankEngine, every call of it, against a list that is sorted anew each time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from sagesched import CostModel, RankEngine, gittins_index

EDGES = np.array([1.0, 4.0, 16.0, 64.0])
COSTS = [CostModel(token=1, memory=0.1, prefill=0.5), CostModel(token=2), CostModel(prefill=3)]
WEIGHTS = [0.0, 0.5, 3.0, math.inf]
BANDS = [(-math.inf, math.inf), (2.0, 4.0), (3.0, 3.0), (-math.inf, 2.5)]
TINY = float(np.finfo(np.float32).tiny)

pmfs = st.lists(st.sampled_from([0.0, 0.1, 1.0, 2.0]), min_size=4, max_size=4)
tokens = st.integers(0, 100)
leads = st.sampled_from([0.0, 0.3, 2.0, 256.0])
boosts = st.sampled_from([-3.0, -0.25, 0.0, 0.25, 3.0])


def natural_log(value: float) -> float:
    """The engine's logarithm, from its description: keys must have these very bits."""
    mantissa, exponent = math.frexp(value)
    if mantissa < math.sqrt(0.5):
        mantissa, exponent = 2 * mantissa, exponent - 1
    s = (mantissa - 1) / (mantissa + 1)
    z = s * s
    tail = 2 / 19
    for odd in (17, 15, 13, 11, 9, 7, 5, 3):
        tail = tail * z + 2 / odd
    head, rest = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
    return exponent * head + (exponent * rest + (2 * s + s * z * tail))


@dataclass
class Request:
    """What the engine should know of one request, and what it answers of it now."""

    pmf: list[float]
    prompt_len: int
    arrival: int
    age: int
    cached_len: int
    priority: int
    lead: float
    sequence: int
    boost: float = 0.0
    index: float = 0.0
    key: float = 0.0

    def evaluate(self, cost: CostModel) -> None:
        row = np.array([self.pmf], dtype=np.float32)
        index = gittins_index(row, EDGES, self.age, self.prompt_len, self.cached_len, cost)
        self.index = max(float(np.float32(index[0])), TINY)

    def rekey(self, weight: float, band: tuple[float, float], scale: float) -> None:
        log = min(max(natural_log(self.index), band[0]), band[1])
        inf = weight == math.inf
        moved = max(band[0], log - scale * float(np.float32(self.lead)))
        self.key = self.boost + log if inf else (self.arrival + self.boost) + weight * moved

    def rank(self) -> tuple[int, float, int]:
        return self.priority, self.key, self.sequence


class Model:
    """A dictionary of requests, and the round of a re-ranking as the engine describes it."""

    def __init__(self, slice_: int) -> None:
        self.requests: dict[int, Request] = {}
        self.slice = slice_
        self.cost, self.weight, self.band = COSTS[0], math.inf, BANDS[0]
        self.scale = 1.0
        self.added = self.kernel_calls = 0
        self.slots = self.cursor = self.stale_keys = self.stale_costs = 0

    def add(self, handle: int, *fields: Any) -> None:
        if handle & 0xFFFFFFFF == self.slots:
            self.stale_keys += self.cursor + self.stale_keys > self.slots
            self.stale_costs += self.cursor + self.stale_costs > self.slots
            self.slots += 1
        assert handle not in self.requests
        self.requests[handle] = Request(*fields, sequence=self.added)
        self.added += 1
        self.refresh(handle)

    def refresh(self, handle: int, evaluate: bool = True) -> None:
        if evaluate:
            self.requests[handle].evaluate(self.cost)
        self.requests[handle].rekey(self.weight, self.band, self.scale)

    def visit(self, count: int, evaluate: bool) -> None:
        due = {(self.cursor + i) % self.slots for i in range(count)}
        met = [handle for handle in self.requests if handle & 0xFFFFFFFF in due]
        for handle in met:
            self.refresh(handle, evaluate)
        self.kernel_calls += evaluate and bool(met)
        self.cursor = (self.cursor + count) % max(self.slots, 1)
        self.stale_keys -= min(count, self.stale_keys)
        self.stale_costs -= min(count, self.stale_costs)

    def top(self, k: int) -> list[int]:
        count = min(self.slice, self.pending)
        costs = min(count, self.stale_costs)
        if costs:
            self.visit(costs, True)
        if count > costs:
            self.visit(count - costs, False)
        return sorted(self.requests, key=lambda handle: self.requests[handle].rank())[:k]

    @property
    def pending(self) -> int:
        return max(self.stale_keys, self.stale_costs)


class Machine(RuleBasedStateMachine):
    live = Bundle("live")
    removed = Bundle("removed")

    @initialize(slice_=st.sampled_from([1, 2, 3, 4096]))
    def start(self, slice_: int) -> None:
        self.engine = RankEngine(EDGES, COSTS[0], slice=slice_)
        self.model = Model(slice_)

    @rule(
        target=live,
        pmf=pmfs,
        prompt_len=tokens,
        arrival=st.integers(0, 3),
        age=tokens,
        cached_len=tokens,
        priority=st.integers(-1, 1),
        lead=leads,
    )
    def add(
        self,
        pmf: list[float],
        prompt_len: int,
        arrival: int,
        age: int,
        cached_len: int,
        priority: int,
        lead: float,
    ) -> int:
        handle = self.engine.add(
            pmf, prompt_len, arrival, age=age, cached_len=cached_len, priority=priority, lead=lead
        )
        self.model.add(handle, pmf, prompt_len, arrival, age, cached_len, priority, lead)
        self.model.kernel_calls += 1
        return handle

    @rule(target=live, rows=st.lists(st.tuples(pmfs, tokens, tokens, leads), max_size=6))
    def add_batch(self, rows: list[tuple[list[float], int, int, float]]) -> Any:
        pmf = np.array([row for row, *_ in rows], dtype=np.float32).reshape(-1, 4)
        prompts, ages, ahead = [[row[i] for row in rows] for i in (1, 2, 3)]
        handles = self.engine.add_batch(
            pmf, prompts, 1, age=ages, cached_len=5, lead=ahead
        ).tolist()
        for handle, (row, prompt_len, age, lead) in zip(handles, rows, strict=True):
            self.model.add(handle, row, prompt_len, 1, age, 5, 0, lead)
        self.model.kernel_calls += bool(rows)
        return multiple(*handles)

    @rule(target=live, count=st.integers(2, 5), pmf=pmfs)
    def add_equal_ones(self, count: int, pmf: list[float]) -> Any:
        return multiple(*(self.add(pmf, 5, 1, 0, 0, 0, 0.0) for _ in range(count)))

    @rule(target=removed, handle=consumes(live))
    def remove(self, handle: int) -> int:
        self.engine.remove(handle)
        del self.model.requests[handle]
        return handle

    @rule(
        target=removed,
        changes=st.lists(st.tuples(live, tokens, tokens, boosts), max_size=5),
        columns=st.sets(st.sampled_from(["age", "cached_len", "boost"])),
        gone=st.lists(consumes(live), max_size=3),
    )
    def update(
        self,
        changes: list[tuple[int, int, int, float]],
        columns: set[str],
        gone: list[int],
    ) -> Any:
        changes = [change for change in changes if change[0] in self.model.requests]
        handles, *values = zip(*changes, strict=True) if changes else ([], [], [], [])
        given = {
            name: column
            for name, column in zip(("age", "cached_len", "boost"), values, strict=True)
            if name in columns
        }
        self.engine.update(np.array(handles, dtype=np.int64), **given, remove=gone)
        evaluate = "age" in given or "cached_len" in given
        for i, handle in enumerate(handles):
            for name, column in given.items():
                setattr(self.model.requests[handle], name, column[i])
            self.model.refresh(handle, evaluate)
        self.model.kernel_calls += evaluate and bool(changes)
        for handle in gone:
            del self.model.requests[handle]
        return multiple(*gone)

    @rule(weight=st.sampled_from(WEIGHTS))
    def set_index_weight(self, weight: float) -> None:
        self.engine.set_index_weight(weight)
        if weight != self.model.weight:
            self.model.weight, self.model.stale_keys = weight, self.model.slots

    @rule(band=st.sampled_from(BANDS))
    def set_index_band(self, band: tuple[float, float]) -> None:
        self.engine.set_index_band(*band)
        if band != self.model.band:
            self.model.band, self.model.stale_keys = band, self.model.slots

    @rule(scale=st.sampled_from([0.0, 0.75, 1.0, 3.0]))
    def set_lead_scale(self, scale: float) -> None:
        self.engine.set_lead_scale(scale)
        if scale != self.model.scale:
            self.model.scale, self.model.stale_keys = scale, self.model.slots

    @rule(cost=st.sampled_from(COSTS))
    def set_cost(self, cost: CostModel) -> None:
        self.engine.set_cost(cost)
        self.model.cost, self.model.stale_costs = cost, self.model.slots

    @rule(k=st.integers(0, 12))
    def top_is_what_sorting_gives(self, k: int) -> None:
        assert self.engine.top(k).tolist() == self.model.top(k)

    @rule(a=live, b=live)
    def compare_agrees_with_sorting(self, a: int, b: int) -> None:
        left, right = (self.model.requests[handle].rank() for handle in (a, b))
        assert self.engine.compare(a, b) == (left > right) - (left < right)

    @rule(stale=removed, good=st.lists(live, max_size=2))
    def stale_handles_are_refused(self, stale: int, good: list[int]) -> None:
        count = len(good) + 1
        for call in (
            lambda: self.engine.remove(stale),
            lambda: self.engine.remove([*good, stale]),
            lambda: self.engine.update([*good, stale], age=[77] * count, boost=[9] * count),
            lambda: self.engine.update(good, cached_len=[9] * len(good), remove=[stale]),
            lambda: self.engine.compare(stale, stale),
        ):
            with pytest.raises(KeyError, match=str(stale)):
                call()
        assert stale not in self.engine

    @rule(handle=live, good=st.lists(live, max_size=2))
    def removing_twice_is_refused(self, handle: int, good: list[int]) -> None:
        with pytest.raises(KeyError, match="more than once"):
            self.engine.remove([handle, *good, handle])

    @invariant()
    def the_engine_holds_what_the_model_holds(self) -> None:
        assert len(self.engine) == len(self.model.requests)
        assert self.engine.slots == self.model.slots
        assert self.engine.pending == self.model.pending
        assert self.engine.kernel_calls == self.model.kernel_calls
        for handle, request in self.model.requests.items():
            assert self.engine.index(handle) == request.index
            assert self.engine.log_index(handle) == natural_log(request.index)
            assert self.engine.key(handle) == request.key


Machine.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestAgainstSorted = Machine.TestCase
