"""RankEngine: single cases. Every call in any order: ``test_rank_engine_model.py``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sagesched import CostModel, RankEngine, gittins_index
from sagesched.gittins import UnknownHandleError

EDGES = np.array([1.0, 4.0, 16.0, 64.0])
COST = CostModel(token=1, memory=0.1, prefill=0.5)
INF = math.inf


def engine_of(*rows: list[float], weight: float = INF) -> tuple[RankEngine, list[int]]:
    engine = RankEngine(EDGES, index_weight=weight)
    return engine, [engine.add(row, 10, arrival) for arrival, row in enumerate(rows)]


LONG, SHORT = [0.0, 0, 0, 1], [1.0, 0, 0, 0]


def test_keys_are_those_of_each() -> None:
    engine, handles = engine_of(LONG, [0.0, 0, 1, 0], SHORT)
    assert engine.keys(handles[::-1]).tolist() == [engine.key(handle) for handle in handles[::-1]]
    assert engine.keys([]).tolist() == []
    with pytest.raises(UnknownHandleError):
        engine.keys([handles[0], 99])


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


def random_batch(rng: np.random.Generator, count: int) -> dict[str, Any]:
    pmf = rng.random((count, 4), dtype=np.float32)
    pmf[rng.random((count, 4)) < 0.3] = 0
    return {
        "pmf": pmf,
        "prompt_len": rng.integers(0, 500, count),
        "arrival": rng.integers(0, 50, count).astype(float),
        "age": rng.integers(0, 80, count),
        "cached_len": rng.integers(0, 600, count),
        "priority": rng.integers(-1, 2, count),
    }


@pytest.mark.parametrize("weight", [0.0, 0.7, INF])
def test_top_is_what_sorting_gives_over_several_pages(weight: float) -> None:
    rng = np.random.default_rng(1)
    engine = RankEngine(EDGES, index_weight=weight)
    batch = random_batch(rng, 5000)
    handles = engine.add_batch(**batch).tolist()
    engine.remove(handles[::3])
    alive = [(i, h) for i, h in enumerate(handles) if i % 3]
    ranks = {h: (batch["priority"][i], engine.key(h), i) for i, h in alive}
    expected = sorted(ranks, key=lambda handle: ranks[handle])
    for k in (1, 2, 255, 256, 3000, 9999):
        assert engine.top(k).tolist() == expected[:k]
    pairs = rng.integers(0, len(expected), (200, 2)).tolist()
    assert all(engine.compare(expected[i], expected[j]) == (i > j) - (i < j) for i, j in pairs)


def test_add_batch_is_as_many_adds() -> None:
    batch = random_batch(np.random.default_rng(2), 40)
    one, many = RankEngine(EDGES, index_weight=2), RankEngine(EDGES, index_weight=2)
    handles = many.add_batch(**batch).tolist()
    rows = [{name: column[i] for name, column in batch.items()} for i in range(40)]
    assert handles == [one.add(**row) for row in rows]
    assert many.top(40).tolist() == one.top(40).tolist()
    assert [many.key(h) for h in handles] == [one.key(h) for h in handles]
    assert many.add_batch(np.empty((0, 4)), [], []).tolist() == []


def test_a_step_of_512_changes_is_three_calls_and_one_of_the_kernel() -> None:
    rng = np.random.default_rng(3)
    engine = RankEngine(EDGES, index_weight=1)
    handles = engine.add_batch(**random_batch(rng, 2000))
    before = engine.kernel_calls
    changed = rng.choice(handles, 512, replace=False)
    engine.update(changed, age=np.arange(512), cached_len=np.ones(512), boost=-np.ones(512))
    assert engine.kernel_calls == before + 1
    engine.update(changed, boost=np.zeros(512), remove=changed[:256])
    engine.top(256)
    assert engine.kernel_calls == before + 1, "nothing that the index depends on had changed"
    assert len(engine) == 2000 - 256


def test_index_is_the_float32_one_of_float32_masses() -> None:
    batch = random_batch(np.random.default_rng(4), 300)
    engine = RankEngine(EDGES, COST)
    handles = engine.add_batch(**batch).tolist()
    columns = (batch[name] for name in ("age", "prompt_len", "cached_len"))
    expected = gittins_index(batch["pmf"], EDGES, *columns, cost=COST).astype(np.float32)
    assert [engine.index(handle) for handle in handles] == expected.tolist()
    assert [engine.key(h) for h in handles] == pytest.approx(
        np.log(expected, dtype=float), rel=1e-14
    )


def test_a_lead_is_taken_off_the_index_and_stays_within_the_band() -> None:
    engine = RankEngine(EDGES, index_weight=2.0)
    plain, led, far = (engine.add(LONG, 10, 0.0, lead=lead) for lead in (0.0, 0.25, 256.0))
    assert engine.key(led) == engine.key(plain) - 2.0 * 0.25
    log = engine.log_index(plain)
    engine.set_index_band(log - 1.0, log + 1.0)
    engine.top(3)
    assert engine.key(far) == 2.0 * (log - 1.0)
    engine.set_index_weight(0.0)
    assert engine.top(3).tolist() == [plain, led, far]
    engine.set_index_weight(INF)  # the index alone
    assert engine.top(3).tolist() == [plain, led, far]


def test_the_scale_of_leads_holds_for_who_is_here_already() -> None:
    engine = RankEngine(EDGES, index_weight=2.0)
    plain, led = (engine.add(LONG, 10, 0.0, lead=lead) for lead in (0.0, 0.25))
    for scale in (3.0, 0.0, 1.0):
        engine.set_lead_scale(scale)
        engine.top(2)
        assert engine.key(led) == engine.key(plain) - 2.0 * scale * 0.25


def test_boost_moves_a_request_in_the_units_of_its_key() -> None:
    engine, (first, second) = engine_of(SHORT, SHORT, weight=1)
    engine.set_boost([second], [-1.0])
    assert engine.top(2).tolist() == [first, second]  # arrival 0 and 1 - 1: a tie, by admission
    engine.set_boost([second], [-1.001])
    assert engine.top(2).tolist() == [second, first]
    engine.set_index_weight(INF)
    engine.update([first, first], boost=[5, -2])  # the last one counts
    assert engine.top(2).tolist() == [first, second]
    assert engine.key(first) == math.log(engine.index(first)) - 2


def test_a_new_weight_reaches_everybody_in_slices() -> None:
    engine = RankEngine(EDGES, index_weight=0, slice=100)
    handles = engine.add_batch(np.array([LONG] * 125 + [SHORT] * 125), 10, np.arange(250.0))
    engine.set_index_weight(INF)
    assert engine.pending == 250
    left = []
    while engine.pending:
        engine.top(1)
        left.append(engine.pending)
    assert left == [150, 50, 0]
    assert engine.top(250).tolist() == [*handles[125:].tolist(), *handles[:125].tolist()]


def test_a_new_cost_concerns_new_and_changed_requests_at_once() -> None:
    engine = RankEngine(EDGES, CostModel(token=1, memory=0), slice=1)
    old, changed = engine.add(LONG, 10, 0), engine.add(LONG, 10, 0)
    engine.set_cost(CostModel(token=3, memory=0))
    assert engine.cost.token == 3
    engine.update_age([changed], [1])
    new = engine.add(LONG, 10, 0)
    assert [engine.index(h) for h in (old, changed, new)] == [64, 189, 192]
    assert engine.top(3).tolist() == [changed, old, new]  # the slice was the first slot
    assert engine.index(old) == 192


def test_a_round_ends_though_weights_change_faster_than_it_goes_round() -> None:
    engine = RankEngine(EDGES, index_weight=0, slice=1)
    handles = [engine.add(SHORT, 10, 0) for _ in range(4)]
    for weight in (1, 2, 3, 4):
        engine.set_index_weight(weight)
        engine.top(1)
    logs = [engine.key(handle) / math.log(engine.index(handle)) for handle in handles]
    assert logs == pytest.approx([1, 2, 3, 4])


def test_memory_of_a_request_is_stated() -> None:
    assert RankEngine(EDGES).bytes_per_request == 4 * 4 + 100
    assert RankEngine(np.arange(1.0, 65)).bytes_per_request == 4 * 64 + 100


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
    row = np.array([LONG], dtype=np.float32)
    assert engine.index(handles[0]) == np.float32(gittins_index(row, EDGES, 20, 10, 3)[0])
    assert engine.top(np.int64(1)).dtype == np.int64
