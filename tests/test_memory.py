"""KV memory that the running batch will still need: ``sagesched.plugin.memory``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched._core import MemoryForecast
from sagesched.lengths import LengthDistribution
from sagesched.plugin.memory import MOST, REFRESH_STEPS, Memory
from sagesched.predict.defaults import cold_start_pmf

from .forecasting import GRID, point, request


def growth(pmf: Any, age: float, freeable: float, ahead: float) -> tuple[float, float]:
    """Mean and variance of what one request holds more after so many steps, plainly."""

    def longer(tokens: float) -> float:
        left, total = 0.0, 0.0
        for edge, mass in zip(GRID.edges, pmf, strict=True):
            share = min(max((tokens - left) / (edge - left), 0.0), 1.0)
            total += mass * (1.0 - share)
            left = edge
        return total

    now = longer(age)
    pareto = max(1.0, age) / (max(1.0, age) + ahead)
    runs = min(1.0, longer(age + ahead) / now) if now > 1e-9 else pareto
    apart = ahead + freeable
    return runs * ahead - (1.0 - runs) * freeable, runs * (1.0 - runs) * apart**2


holders = st.lists(
    st.tuples(
        st.lists(st.floats(0.0, 1.0), min_size=len(GRID), max_size=len(GRID)).filter(sum),
        st.integers(0, 3000),
        st.integers(0, 3000),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(holders, st.sampled_from([0.0, 1.0, 2.5]))
def test_the_peak_is_that_of_a_plain_sum(batch: list[Any], deviations: float) -> None:
    batch = [(np.array(pmf) / sum(pmf), age, own) for pmf, age, own in batch]
    octaves = [2.0**k for k in range(12)]
    steps = [x for o in octaves for x in np.arange(o, 2 * o, max(1.0, o / 8))]
    sums = np.array([np.sum([growth(*holder, step) for holder in batch], axis=0) for step in steps])
    expected = max(0.0, *(sums[:, 0] + deviations * np.sqrt(sums[:, 1])))
    forecast = MemoryForecast(GRID.edges)
    forecast.start(*map(list, zip(*batch, strict=True)))
    assert forecast.peak(deviations) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    alone = MemoryForecast(GRID.edges)
    alone.start(*map(list, zip(*batch[:-1], strict=True)) if batch[1:] else ([], [], []))
    assert alone.peak_with(*batch[-1], deviations) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    alone.add(*batch[-1])
    assert alone.peak(deviations) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("tokens", [16, 100, 128, 1000, 1500, 2000])
def test_of_requests_that_end_together_nearly_all_of_the_peak_is_seen(tokens: int) -> None:
    forecast = MemoryForecast(GRID.edges)
    forecast.start([point(tokens)] * 64, [0.0] * 64, [0.0] * 64)
    assert 0.85 * 64 * tokens < forecast.peak(0.0) <= 64 * tokens * 1.07


def test_one_that_ends_before_the_peak_makes_room_for_it() -> None:
    forecast = MemoryForecast(GRID.edges)
    forecast.start([point(1024)], [0.0], [0.0])
    alone = forecast.peak(0.0)
    assert 512 <= alone <= 1024
    forecast.add(point(8), 0.0, 400.0)
    assert forecast.peak(0.0) == pytest.approx(alone - 400.0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([point(3)], [-1.0], [0.0]), ValueError),
        (([point(3)], [0.0], [float("nan")]), ValueError),
        (([point(3)], [0.0], []), ValueError),
        (([point(3)[:-1]], [0.0], [0.0]), ValueError),
        (([[1.0] * len(GRID)], [0.0], [0.0]), TypeError),
    ],
)
def test_bad_batches_are_refused_and_change_nothing(arguments: Any, error: Any) -> None:
    forecast = MemoryForecast(GRID.edges)
    forecast.start([point(64)], [0.0], [0.0])
    before = forecast.peak(1.0)
    with pytest.raises(error):
        forecast.start(*arguments)
    assert forecast.peak(1.0) == before > 0


@pytest.mark.parametrize("edges", [[], [0.0, 1.0], [2.0, 1.0], [1.0, float("inf")]])
def test_bad_edges_are_refused(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="edges"):
        MemoryForecast(edges)


def test_who_has_ended_counts_until_the_next_look_and_nobody_for_nothing() -> None:
    memory = Memory(GRID)
    running = [request(500, prompt=10), request(500, prompt=10)]
    both = memory.start(running, 100)
    assert both == memory.start(running[:1], 100 + REFRESH_STEPS - 1) > 0
    one = memory.start(running[:1], 100 + REFRESH_STEPS)
    assert one is not None
    assert 0 < one < both
    assert memory.start([], 100 + REFRESH_STEPS) == 0  # an idle engine's steps do not go on


def test_who_joins_counts_at_once() -> None:
    memory = Memory(GRID)
    before = memory.start([request(500)], 0)
    memory.join(request(500))
    assert before is not None
    assert (memory.start([request(500)], 1) or 0.0) > 1.5 * before


def test_an_unknown_request_is_left_to_stock() -> None:
    memory = Memory(GRID)
    assert memory.start([request(500), SimpleNamespace()], 0) is None


def test_a_retraction_raises_the_reserve_and_it_fades() -> None:
    memory = Memory(GRID)
    running = [request(500)]
    before = memory.start(running, 0)
    assert before is not None
    memory.retracted()
    assert (memory.start(running, 1) or 0.0) > 1.3 * before
    for _ in range(20):
        memory.retracted()
    assert memory.margin == MOST
    for step in range(3000):
        after = memory.start(running, step)
    assert after == pytest.approx(before)


def test_when_somebody_with_much_memory_has_left_the_batch_is_looked_at_anew() -> None:
    memory = Memory(GRID)
    small = [request(50, prompt=10) for _ in range(8)]
    large = request(50, prompt=3000)
    before = memory.start([*small, large], 0)
    assert before is not None
    after = memory.start(small, 1)
    assert after == Memory(GRID).start(small, 0)
    assert memory.start(small[1:], 2) == after  # not for each of the small ones


def test_asking_twice_in_a_pass_is_asking_afresh() -> None:
    """Who has another hit by then, who has joined meanwhile, and another request count anew."""
    running = [request(1000) for _ in range(8)]
    other, one = request(2000), request(1000)
    one._sagesched_place.distribution = LengthDistribution(GRID, cold_start_pmf(GRID))
    either = (point(1000) + point(100)) / 2
    other._sagesched_place.distribution = LengthDistribution(GRID, either)

    def fresh(*joined: Any, of: Any) -> float:
        memory = Memory(GRID)
        memory.start(running, 0)
        for each in joined:
            memory.join(each)
        return memory.more_for(of)

    memory = Memory(GRID)
    memory.start(running, 0)
    assert memory.more_for(one) == memory.more_for(one) == fresh(of=one)
    assert memory.more_for(other) == fresh(of=other)
    before = memory.more_for(one)
    one._sagesched_place.shared = 90
    assert memory.more_for(one) == fresh(of=one) != before
    before = memory.more_for(one)
    memory.join(other)
    assert memory.more_for(one) == fresh(other, of=one) != before
    del running[1:]
    again = memory.more_for(one)
    memory.start(running, 100)
    assert memory.more_for(one) == fresh(of=one) != again
