"""KV memory that the running batch will still need: ``sagesched.plugin.memory``, ``adder``."""

from __future__ import annotations

import math
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched._core import MemoryForecast
from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.adder import MOST_PASSED, PASSED_STEPS, adder_class
from sagesched.plugin.anchor import Keys
from sagesched.plugin.errors import NotInForceError
from sagesched.plugin.hooks.scheduler_start import _memory as make_memory
from sagesched.plugin.memory import MOST, REFRESH_STEPS, Memory
from sagesched.plugin.place import Place
from sagesched.plugin.settings import Settings
from sagesched.predict.defaults import cold_start_pmf

GRID = LengthGrid(2048)


def point(tokens: int) -> Any:
    """A length that is certain, to the bin."""
    pmf = np.zeros(len(GRID))
    pmf[GRID.bin_of(tokens)] = 1.0
    return pmf


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


def request(length: int, prompt: int = 100, age: int = 0, shared: int = 0) -> Any:
    """One with a place."""
    place = Place(0, 0, LengthDistribution(GRID, point(length)), CostModel())
    place.shared = shared
    return SimpleNamespace(
        origin_input_ids=[0] * prompt,
        output_ids=[0] * age,
        prefix_len=shared,
        full_untruncated_fill_ids=[0] * (prompt + age),
        sampling_params=SimpleNamespace(max_new_tokens=2000, ignore_eos=False),
        _sagesched_place=place,
    )


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


class Result(Enum):
    """SGLang's ``AddReqResult``."""

    CONTINUE = auto()
    NO_TOKEN = auto()
    OTHER = auto()


class Stock:
    """The parts of SGLang's ``PrefillAdder`` that ours builds on."""

    def __init__(self, running_batch: Any, free: int) -> None:
        self.memory_budget = SimpleNamespace(
            total_offset=0.0, remaining_current=free, has_capacity=lambda: free > 0
        )
        self.running_batch = running_batch
        self.can_run_list: list[Any] = []
        self.rem_chunk_tokens, self.rem_input_tokens = 512, 10_000
        self.per_req_token_overhead = 1
        self.went_on = 0
        self.verdict = Result.NO_TOKEN
        self.memory_budget.total_offset += sum(
            self._get_running_request_total_token_offset(r) for r in running_batch.reqs
        )

    def _get_running_request_total_token_offset(self, req: Any) -> float:
        return 0.5 * (req.sampling_params.max_new_tokens - len(req.output_ids))

    def _swa_new_tokens(self, req: Any) -> int:
        return int(req.sampling_params.max_new_tokens) - len(req.output_ids)

    def _select_prefill_admission(self, req: Any, *, total_tokens: int) -> int:
        return total_tokens

    def add_one_req(self, req: Any) -> Any:
        return self.verdict

    def budget_state(self) -> Any:
        return Result.CONTINUE

    def _update_prefill_budget(self, prefix: int, extend: int, new: int) -> None:
        self.memory_budget.total_offset += extend + new

    def add_chunked_req(self, req: Any) -> Any:
        self.went_on += 1
        return None


def adder(state: Any, running: list[Any], free: int = 10_000, step: int = 0) -> Any:
    """Ours over `Stock`."""
    return adder_class(Stock, state, lambda: step)(
        running_batch=SimpleNamespace(reqs=running), free=free
    )


@pytest.fixture
def state() -> Any:
    """As much of ``SchedulerState`` as it looks at."""
    order = SimpleNamespace(keys=Keys(math.inf, -math.inf, math.inf))
    return SimpleNamespace(memory=Memory(GRID), in_force=True, order=order, passed_over=False)


def test_what_is_kept_free_follows_the_predictions(state: Any) -> None:
    ours = adder(state, [request(50), request(50)])
    assert 64 <= ours.memory_budget.total_offset <= 100  # SGLang: 2,000
    candidate = request(50)
    total = ours._select_prefill_admission(candidate, total_tokens=100 + 2000)
    assert 100 <= total <= 200
    ours.can_run_list.append(candidate)
    before = ours.memory_budget.total_offset
    ours._update_prefill_budget(0, 100, 2000)
    assert ours.memory_budget.total_offset - before == total


@pytest.mark.parametrize("why", ["off", "not in force", "no order", "a stranger runs"])
def test_otherwise_it_is_sglang_s_own(state: Any, why: str) -> None:
    running = [request(50)]
    if why == "off":
        state.memory = None
    elif why == "not in force":
        state.in_force = False
    elif why == "no order":
        state.order = None
    else:
        running.append(SimpleNamespace(sampling_params=running[0].sampling_params, output_ids=[]))
    ours = adder(state, running)
    assert ours.memory_budget.total_offset == 1000 * len(running)
    assert ours._select_prefill_admission(request(50), total_tokens=2100) == 2100
    assert ours.add_chunked_req(request(50)) is None


def test_an_error_leaves_sglang_s_own(state: Any) -> None:
    class Broken(Memory):
        def start(self, running: Any) -> float:
            raise MemoryError

    state.memory = Broken(GRID)
    assert adder(state, [request(50)]).memory_budget.total_offset == 1000
    assert state.memory is None


def test_an_error_in_the_middle_of_a_pass_reserves_what_sglang_would(state: Any) -> None:
    ours = adder(state, [request(50)])
    candidate = request(50)
    candidate._sagesched_place.distribution = None
    assert ours._select_prefill_admission(candidate, total_tokens=2100) == 2100
    assert state.memory is None


def test_a_few_that_do_not_fit_are_passed_and_none_for_long(state: Any) -> None:
    running = [request(50)]
    large = [request(50) for _ in range(MOST_PASSED + 1)]
    ours = adder(state, running)
    said = [ours.add_one_req(each).name for each in large]
    assert said == ["CONTINUE"] * MOST_PASSED + ["NO_TOKEN"]
    assert adder(state, running, step=PASSED_STEPS).add_one_req(large[0]) is Result.CONTINUE
    assert adder(state, running, step=PASSED_STEPS + 1).add_one_req(large[0]) is Result.NO_TOKEN
    overdue = request(50)
    overdue._sagesched_place.overdue = True
    assert adder(state, running).add_one_req(overdue) is Result.NO_TOKEN
    assert adder(state, []).add_one_req(request(50)) is Result.NO_TOKEN  # it will never fit
    assert state.passed_over is False
    full = adder(state, running, free=0)
    assert full.add_one_req(request(50)) is Result.NO_TOKEN
    last = adder(state, running)
    last.can_run_list.append(joined := request(50))
    last.verdict = Result.NO_TOKEN  # it has joined, and memory is spent
    assert last.add_one_req(joined) is Result.NO_TOKEN
    assert joined._sagesched_place.passed_at == -1
    state.memory = None
    assert adder(state, running).add_one_req(request(50)) is Result.NO_TOKEN


def test_who_was_passed_and_joins_may_be_passed_again(state: Any) -> None:
    ours = adder(state, [request(50)])
    ours.add_one_req(late := request(50))
    assert state.passed_over
    assert late._sagesched_place.passed_at == 0
    ours.can_run_list.append(late)
    ours._update_prefill_budget(0, 100, 2000)
    assert late._sagesched_place.passed_at == -1


def arrived(at: int) -> Any:
    came = request(50)
    came._sagesched_place.since = float(at)
    return came


def test_nobody_passes_whom_the_order_would_not_let_it_overtake(state: Any) -> None:
    state.order.keys = Keys(50.0, -0.5, 1.5)  # a reach of 100
    ours = adder(state, [request(50)])
    assert ours.add_one_req(arrived(10)) is Result.CONTINUE
    assert ours.add_one_req(arrived(7)) is Result.CONTINUE
    ours.verdict = Result.CONTINUE
    assert ours.add_one_req(arrived(106)) is Result.CONTINUE
    assert ours.add_one_req(arrived(107)) is Result.NO_TOKEN
    state.order.keys = Keys(0.0, -0.5, 1.5)
    strict = adder(state, [request(50)])
    strict.add_one_req(arrived(10))
    strict.verdict = Result.CONTINUE
    assert strict.add_one_req(arrived(10)) is Result.NO_TOKEN


def test_what_a_beam_needs_is_left_to_sglang(state: Any) -> None:
    beam = request(50)
    beam.beam_group = object()
    assert adder(state, [beam]).memory_budget.total_offset == 1000
    ours = adder(state, [request(50)])
    assert ours._select_prefill_admission(beam, total_tokens=2100) == 2100
    ours.can_run_list.append(beam)
    ours._update_prefill_budget(0, 100, 2000)
    assert adder(state, [request(50), beam], step=1).memory_budget.total_offset == 2000


def test_when_somebody_with_much_memory_has_left_the_batch_is_looked_at_anew() -> None:
    memory = Memory(GRID)
    small = [request(50, prompt=10) for _ in range(8)]
    large = request(50, prompt=3000)
    before = memory.start([*small, large], 0)
    assert before is not None
    after = memory.start(small, 1)
    assert after == Memory(GRID).start(small, 0)
    assert memory.start(small[1:], 2) == after  # not for each of the small ones


def test_a_half_prefilled_prompt_waits_for_room_and_nobody_passes_it(state: Any) -> None:
    chunked = request(50, prompt=2000)
    ours = adder(state, [request(50)], free=300)
    assert ours.add_chunked_req(chunked) is chunked
    assert (ours.went_on, ours.budget_state()) == (0, Result.OTHER)
    for running, free in (([request(50)], 600), ([], 300)):  # room; nobody who could make any
        ours = adder(state, running, free=free)
        assert ours.add_chunked_req(chunked) is None
        assert (ours.went_on, ours.budget_state()) == (1, Result.CONTINUE)


def plain_scheduler(pp_size: int = 1, role: str = "null", classes: bool = False) -> Any:
    """As much of SGLang's ``Scheduler`` as is looked at, of a release and a mode with the seam."""
    return SimpleNamespace(
        enable_priority_scheduling=classes,
        is_hybrid_swa=False,
        tree_cache=SimpleNamespace(supports_mamba=lambda: False),
        spec_algorithm=SimpleNamespace(is_none=lambda: True),
        server_args=SimpleNamespace(pp_size=pp_size, disaggregation_mode=role),
        model_config=SimpleNamespace(context_len=2048),
        get_prefill_adder_class=lambda: Stock,
    )


def test_a_forecast_is_the_default_where_it_can_be_in_force() -> None:
    scheduler = plain_scheduler()
    assert isinstance(make_memory(scheduler, Settings(), "gittins"), Memory)
    assert make_memory(scheduler, Settings(admission="stock"), "gittins") is None
    scheduler.get_prefill_adder_class = lambda: object  # a release whose class is another one
    assert make_memory(scheduler, Settings(), "gittins") is None


@pytest.mark.parametrize(
    "change",
    [
        {"pp_size": 2},
        {"policy": "larry"},
        {"release": "0.5.20"},
        {"role": "decode"},
        {"classes": True},
    ],
)
def test_a_forecast_that_cannot_be_in_force_stops_the_server(change: dict[str, Any]) -> None:
    scheduler = plain_scheduler(
        change.get("pp_size", 1), change.get("role", "null"), change.get("classes", False)
    )
    if "release" in change:
        del scheduler.get_prefill_adder_class
    policy = change.get("policy", "gittins")
    for admission in ("auto", "stock"):
        assert make_memory(scheduler, Settings(admission=admission), policy) is None
    with pytest.raises(NotInForceError, match="SAGESCHED_ADMISSION=forecast needs"):
        make_memory(scheduler, Settings(admission="forecast"), policy)


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
