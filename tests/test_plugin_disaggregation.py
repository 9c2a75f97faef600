"""Prefill and decode servers, without SGLang: who gets what first, and who comes back."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin import fallback
from sagesched.plugin.disaggregation import DECODE, PREFILL, PrefillOrder, role_of
from sagesched.plugin.hooks.bootstrap import pop_bootstrapped
from sagesched.plugin.hooks.control import set_internal_state
from sagesched.plugin.hooks.outcome import handle_batch_output
from sagesched.plugin.hooks.preallocation import create_receiver_and_enqueue, pop_preallocated
from sagesched.plugin.hooks.queue_enter import add_request_to_queue
from sagesched.plugin.hooks.queue_order import calc_priority
from sagesched.plugin.hooks.scheduler_start import _larry, _processed_tokens
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.place import place_of
from sagesched.plugin.settings import Settings
from sagesched.plugin.state import STATE, SchedulerState, TokenizerState
from sagesched.plugin.wire import WISH_KEY, attach
from sagesched.predict.defaults import cold_start_pmf

GRID = LengthGrid(4096)
PRIOR = LengthDistribution(GRID, cold_start_pmf(GRID))
COST = CostModel(token=1.0, memory=0.0, prefill=1.0)


class Scheduler:
    """As much of SGLang's scheduler as the hooks read; ``slots`` requests get memory in a pass."""

    def __init__(
        self, role: str, slots: int = 1, dial: float = math.inf, policy: str = "gittins"
    ) -> None:
        self.server_args = SimpleNamespace(disaggregation_mode=role)
        self.disaggregation_mode = SimpleNamespace(value=role)
        self.policy = SimpleNamespace(
            tree_cache=SimpleNamespace(disable=True), enable_priority_scheduling=False
        )
        self.tree_cache = self.policy.tree_cache
        self.tree_cache.evictable_size = lambda: 0
        self.token_to_kv_pool_allocator = SimpleNamespace(available_size=lambda: 100)
        self.max_total_num_tokens, self.enable_priority_scheduling = 1000, False
        self.waiting_queue: list[Any] = []
        self.running_batch = SimpleNamespace(reqs=[])
        self.forward_ct = self.processed_tokens_counter = 0
        free = SimpleNamespace(available_size=lambda: slots)
        self.disagg_prefill_bootstrap_queue = self.disagg_decode_prealloc_queue = SimpleNamespace(
            queue=[],
            retracted_queue=[],
            scheduler=self,
            req_to_token_pool=free,
            req_to_metadata_buffer_idx_allocator=free,
        )
        self.queue: Any = self.disagg_decode_prealloc_queue
        self.slots = slots

        def make_order(dial: float) -> QueueOrder:
            if role_of(self) == PREFILL:
                return PrefillOrder(PRIOR, COST, dial, lambda: self.processed_tokens_counter)
            return QueueOrder(PRIOR, COST, dial)

        if policy == "larry":
            make_order = _larry(self, Settings())[0]
        self.state = SchedulerState(make_order, lambda dial: None, 8, dial, policy, role=role)
        setattr(self.policy, STATE, self.state)

    def send(self, name: str, tokens: int, prompt: int = 10, wish: Any = None) -> Any:
        """A request comes; returns it."""
        params = SimpleNamespace(max_new_tokens=4000, custom_params=wish and {WISH_KEY: wish})
        pmf = np.zeros(len(GRID))
        pmf[GRID.bin_of(tokens)] = 1.0
        attach(params, LengthDistribution(GRID, pmf))
        request = SimpleNamespace(
            rid=name,
            origin_input_ids=[1] * prompt,
            output_ids=[],
            priority=None,
            sampling_params=params,
        )
        self.add(request)
        return request

    def add(self, request: Any, is_retracted: bool = False) -> None:
        """SGLang's ``_add_request_to_queue``, hooked."""

        def stock(self: Scheduler, request: Any, is_retracted: bool = False) -> None:
            if role_of(self) == PREFILL:
                request.sampling_params.max_new_tokens = 1
                self.queue.queue.append(request)
            elif is_retracted:
                self.queue.retracted_queue.append(request)
            else:
                create_receiver_and_enqueue(enqueue, self.queue, request)

        def enqueue(queue: Any, request: Any) -> Any:
            queue.queue.append(SimpleNamespace(req=request))
            return queue.queue[-1]

        add_request_to_queue(stock, self, request, is_retracted=is_retracted)

    def take(self) -> list[str]:
        """Who gets memory, or what a transfer needs, in this pass."""

        def preallocated(queue: Any) -> Any:
            taken, queue.queue = queue.queue[: self.slots], queue.queue[self.slots :]
            return taken, []

        def bootstrapped(queue: Any) -> Any:
            return preallocated(queue)[0]

        if role_of(self) == DECODE:
            taken, _ = pop_preallocated(preallocated, self.queue)
            return [entry.rid for entry in taken]
        taken = pop_bootstrapped(bootstrapped, self.queue)
        self.waiting_queue.extend(taken)
        return [request.rid for request in taken]

    def ordered(self) -> list[str]:
        """Who waits to be computed, best first."""
        calc_priority(lambda *_: None, self.policy, self.waiting_queue)
        return [request.rid for request in self.waiting_queue]


LENGTHS = {"long": 900, "short": 5, "middling": 100, "longest": 3000, "tiny": 2}
BEST_FIRST = ["tiny", "short", "middling", "long", "longest"]


def crowd(role: str, **more: Any) -> tuple[Scheduler, dict[str, Any]]:
    scheduler = Scheduler(role, **more)
    return scheduler, {name: scheduler.send(name, tokens) for name, tokens in LENGTHS.items()}


@pytest.fixture(autouse=True)
def no_fallback(request: pytest.FixtureRequest) -> Any:
    before = fallback.count()
    yield
    if "fails" not in request.node.name:
        assert fallback.count() == before


def drain(scheduler: Scheduler) -> list[str]:
    return [name for _ in LENGTHS for name in scheduler.take()]


@pytest.mark.parametrize("role", [PREFILL, DECODE])
def test_the_best_are_taken_first(role: str) -> None:
    scheduler, _ = crowd(role)
    assert drain(scheduler) == BEST_FIRST


def test_who_waits_to_be_computed_is_ordered_too() -> None:
    """Buffers for all: SGLang takes them as they came, and the waiting queue is ordered."""
    scheduler, _ = crowd(PREFILL, slots=8)
    assert scheduler.take() == list(LENGTHS)
    assert scheduler.ordered() == BEST_FIRST
    scheduler.send("late", 20)
    assert scheduler.take() == ["late"]
    assert scheduler.ordered() == ["tiny", "short", "late", "middling", "long", "longest"]


def test_a_prefill_server_weighs_prompt_and_output() -> None:
    scheduler = Scheduler(PREFILL, slots=8)
    for name, tokens, prompt in (("a", 900, 10), ("b", 10, 2000), ("c", 300, 300)):
        scheduler.send(name, tokens, prompt)
    scheduler.take()
    assert scheduler.ordered() == ["c", "a", "b"]


def test_a_prompt_costs_a_decode_server_nothing() -> None:
    scheduler = Scheduler(DECODE)
    for name, tokens, prompt in (("a", 900, 10), ("b", 10, 2000), ("c", 300, 300)):
        scheduler.send(name, tokens, prompt)
    assert [name for _ in range(3) for name in scheduler.take()] == ["b", "c", "a"]


@pytest.mark.parametrize("role", [PREFILL, DECODE])
def test_at_a_dial_of_nought_they_are_taken_as_they_came(role: str) -> None:
    scheduler, _ = crowd(role, dial=0.0)
    assert drain(scheduler) == list(LENGTHS)


def test_nobody_is_overtaken_for_ever_on_a_prefill_server() -> None:
    """Arrivals are counted in prompt tokens computed, of which there are plenty."""
    scheduler = Scheduler(PREFILL, dial=1.0)
    scheduler.send("long", 3000)
    for number in range(200):
        scheduler.send(f"short{number}", 5)
        if "long" in scheduler.take():
            return
        scheduler.processed_tokens_counter += 10
        scheduler.forward_ct += 1
    pytest.fail("it was overtaken by all")


def test_what_a_decode_server_took_back_is_resumed_best_first() -> None:
    scheduler, requests = crowd(DECODE, slots=8)
    scheduler.take()
    for name in ("longest", "long", "middling"):
        scheduler.add(requests[name], is_retracted=True)
    resumed = [request.rid for request in scheduler.queue.retracted_queue]
    assert resumed == ["middling", "long", "longest"]
    assert len(scheduler.state.order or ()) == 0


def test_who_is_to_be_prefilled_again_keeps_its_place() -> None:
    scheduler, requests = crowd(DECODE, slots=8)
    scheduler.take()
    place = place_of(requests["short"])
    assert place is not None
    scheduler.forward_ct = 500
    scheduler.send("new", 3)
    scheduler.add(requests["short"])
    assert place_of(requests["short"]) is place
    assert place.arrival == 0
    assert len(scheduler.state.order or ()) == 2


def test_who_left_unannounced_is_forgotten() -> None:
    scheduler, requests = crowd(DECODE)
    scheduler.queue.queue = [e for e in scheduler.queue.queue if e.rid != "tiny"]  # aborted
    assert scheduler.take() == ["short"]
    assert getattr(place_of(requests["tiny"]), "handle", 0) == -1


def test_a_server_that_changes_its_role_orders_its_other_queue() -> None:
    scheduler, _ = crowd(PREFILL, slots=8)
    scheduler.take()
    scheduler.ordered()
    scheduler.waiting_queue.clear()  # idle, as SGLang wants it
    scheduler.disaggregation_mode = SimpleNamespace(value=DECODE)
    scheduler.slots = 1
    for name, tokens in LENGTHS.items():
        scheduler.send(name, tokens)
    assert drain(scheduler) == BEST_FIRST
    assert scheduler.state.bootstrap is None


@pytest.mark.parametrize("role", [PREFILL, DECODE])
def test_larry_goes_by_prompts(role: str) -> None:
    scheduler = Scheduler(role, policy="larry")
    for name, prompt in (("long", 900), ("short", 30), ("middling", 200)):
        scheduler.send(name, 5, prompt)
    assert [name for _ in range(3) for name in scheduler.take()] == ["short", "middling", "long"]


def test_larry_counts_what_a_decode_server_takes() -> None:
    """Nothing is computed there, so nobody would grow older."""
    scheduler = Scheduler(DECODE, policy="larry", dial=1.0)
    scheduler.send("long", 5, 900)
    for number in range(200):
        scheduler.send(f"short{number}", 5, 30)
        if "long" in scheduler.take():
            return
    pytest.fail("it was overtaken by all")


@pytest.mark.parametrize("role", [PREFILL, DECODE])
def test_switched_off_they_are_taken_as_they_came(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = SimpleNamespace(SetInternalStateReqOutput=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "sglang.srt.managers.io_struct", answers)
    scheduler, _ = crowd(role)
    assert scheduler.take() == ["tiny"]
    asked = SimpleNamespace(rid=None, server_args={"sagesched_gittins": 0})
    set_internal_state(lambda *_: pytest.fail("it is ours"), scheduler, asked)
    assert not scheduler.state.in_force
    rest = [name for name in LENGTHS if name != "tiny"]
    assert drain(scheduler) == rest


@pytest.mark.parametrize("role", [PREFILL, DECODE])
def test_when_ours_fails_they_are_taken_as_they_came(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, _ = crowd(role)

    def breaks(*args: Any, **more: Any) -> None:
        raise RuntimeError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(QueueOrder, "rank", breaks)
        before = fallback.count()
        first = scheduler.take()
    assert fallback.count() == before + 1
    rest = [name for _ in range(4) for name in scheduler.take()]
    expected = (
        list(LENGTHS) if role == PREFILL else ["long", "tiny", "short", "middling", "longest"]
    )
    assert first + rest == expected


class Service:
    """What was learned."""

    def __init__(self) -> None:
        self.learned: list[tuple[str, int, bool]] = []
        self.forgotten: list[str] = []

    def finish(self, rid: str, tokens: int, stopped: bool) -> None:
        self.learned.append((rid, tokens, stopped))

    def forget(self, rid: str) -> None:
        self.forgotten.append(rid)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@pytest.mark.parametrize(
    ("role", "learned"),
    [(PREFILL, [("stops", 1, True)]), (DECODE, [("stops", 1, True), ("goes on", 1, False)])],
)
def test_one_token_on_a_prefill_server_says_nothing_of_a_length(
    role: str, learned: Sequence[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagesched.plugin.metrics.export_soon", lambda *_: None)
    service = Service()
    manager = SimpleNamespace(disaggregation_mode=SimpleNamespace(value=role))
    setattr(manager, STATE, TokenizerState(service, 4096))
    output = SimpleNamespace(
        rids=["stops", "goes on"],
        finished_reasons=[{"type": "stop"}, {"type": "length"}],
        completion_tokens=[1, 1],
    )

    async def stock(manager: Any, output: Any) -> None: ...

    asyncio.run(handle_batch_output(stock, manager, output))
    assert service.learned == learned
    assert service.forgotten == (["goes on"] if role == PREFILL else [])


@pytest.mark.parametrize(("role", "tokens"), [("", 700), (PREFILL, 700), (DECODE, 900)])
def test_arrivals_count_what_the_server_takes_up_in_its_role(role: str, tokens: int) -> None:
    """Prompts that it computes; a decode server's are computed elsewhere."""
    policy = SimpleNamespace()
    scheduler = SimpleNamespace(policy=policy, disaggregation_mode=SimpleNamespace(value=role))
    assert _processed_tokens(scheduler) == 0  # while it is built
    setattr(policy, STATE, SimpleNamespace(prefilled_tokens=700, taken_tokens=900))
    assert _processed_tokens(scheduler) == tokens
