"""Who joins the batch where memory is forecast: ``sagesched.plugin.adder``, with a stand-in."""

from __future__ import annotations

import math
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any

import pytest

from sagesched.plugin import fallback
from sagesched.plugin.adder import MOST_PASSED, PASSED_STEPS, adder_class
from sagesched.plugin.anchor import Keys
from sagesched.plugin.errors import NotInForceError
from sagesched.plugin.hooks.scheduler_start import _memory as make_memory
from sagesched.plugin.memory import Memory
from sagesched.plugin.settings import Settings

from .forecasting import GRID, request


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


def test_an_error_in_the_sum_of_what_is_kept_free_begins_anew(state: Any) -> None:
    class Broken(Memory):
        def start(self, running: Any, step: int) -> Any:
            return "a lot"

    state.memory = Broken(GRID)
    assert adder(state, [request(50)]).memory_budget.total_offset == 1000
    assert state.memory is None


def without(name: str) -> Any:
    found = request(50)
    delattr(found, name)
    return found


def of_no_time() -> Any:
    found = request(50)
    found._sagesched_place.since = None
    return found


def no_step() -> int:
    raise MemoryError


@pytest.mark.parametrize(
    ("ask", "stock_answer"),
    [
        (lambda ours: ours._select_prefill_admission(without("prefix_len"), total_tokens=9), 9),
        (lambda ours: ours._update_prefill_budget(0, 100, 2000), None),  # nobody has joined
        (lambda ours: ours.add_chunked_req(without("full_untruncated_fill_ids")), None),
        (lambda ours: ours.add_one_req(of_no_time()), Result.NO_TOKEN),
        (lambda ours: ours.add_one_req(request(50)) and ours.add_one_req(of_no_time()),
         Result.NO_TOKEN),
    ],
    ids=["asks", "joins", "chunk", "is passed", "passes"],
)  # fmt: skip
def test_whatever_fails_in_a_pass_gives_sglang_s_answer_and_is_counted_once(
    state: Any, ask: Any, stock_answer: Any
) -> None:
    ours = adder(state, [request(50)])
    before, kept_free = fallback.count(), ours.memory_budget.total_offset
    assert ask(ours) == stock_answer
    assert (state.memory, fallback.count() - before) == (None, 1)
    assert ours.budget_state() is Result.CONTINUE
    assert ours.memory_budget.total_offset - kept_free in (0, 2100)
    assert ours._select_prefill_admission(request(50), total_tokens=2100) == 2100
    assert adder(state, [request(50)]).memory_budget.total_offset == 1000
    assert fallback.count() - before == 1


def test_an_engine_without_a_step_count_reserves_as_sglang_does(state: Any) -> None:
    ours = adder_class(Stock, state, no_step)(SimpleNamespace(reqs=[request(50)]), 10_000)
    assert ours.memory_budget.total_offset == 1000
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
