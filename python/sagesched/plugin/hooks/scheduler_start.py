"""Where a scheduler process is wired: its policy object gets our state, or stays stock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from sagesched._version import __version__
from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin import metrics
from sagesched.plugin.adder import adder_class, can_reserve
from sagesched.plugin.checksum import OrderChecksum
from sagesched.plugin.disaggregation import DECODE, PREFILL, PrefillOrder, role_of
from sagesched.plugin.errors import NotInForceError
from sagesched.plugin.hook import Hook
from sagesched.plugin.larry import LarryOrder
from sagesched.plugin.memory import Memory
from sagesched.plugin.modes import require_supported_mode
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.parking import Limits, Parking
from sagesched.plugin.releases import keeps_kv_of_unfinished
from sagesched.plugin.settings import (
    FORECAST,
    LARRY,
    POLICIES,
    POLICY,
    STOCK_RESERVE,
    Settings,
    is_ours,
    predicts,
    read_settings,
)
from sagesched.plugin.state import STATE, SchedulerState, state_of
from sagesched.plugin.timing import spent
from sagesched.plugin.watch import Watch
from sagesched.predict.defaults import cold_start_pmf

logger = logging.getLogger("sagesched")


def init_schedule_policy(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Build the order once the scheduler knows its model and its limits."""
    result = original(self, *args, **kwargs)
    if not is_ours(self.schedule_policy):
        return result
    require_supported_mode(self.server_args)
    settings = read_settings()
    slots = self.max_running_requests
    policy = self.schedule_policy if self.schedule_policy in POLICIES else POLICY
    make_order, what = (_larry if policy == LARRY else _gittins)(self, settings)
    if self.metrics_reporter.current_scheduler_metrics_enabled:
        metrics.enable()
    spent.on = True

    def make_memory() -> Memory | None:
        return _memory(self, settings, policy)

    state = SchedulerState(
        make_order,
        lambda dial: _parking(self, settings, dial) if predicts(policy) else None,
        slots,
        settings.dial,
        policy,
        in_force=self.schedule_policy == policy,
        watch=Watch(speaks=_is_first_rank()),
        make_memory=make_memory,
        memory=make_memory(),
        preempts=self.enable_priority_preemption,
        checksum=OrderChecksum() if settings.debug_order else None,
        role=role_of(self),
        why_no_parking=lambda: (
            _why_no_parking(self, settings) if predicts(policy) else f"not with {policy}"
        ),
    )
    setattr(self.policy, STATE, state)
    self.__dict__.pop("get_prefill_adder_class", None)  # ours, of a replay's run before
    if state.memory is not None:
        adder = adder_class(
            self.get_prefill_adder_class(),
            state,
            lambda: int(self.forward_ct),
            passes=not self.enable_lora,
        )
        self.get_prefill_adder_class = lambda: adder
    how = f"{policy} in force" if state.in_force else "a shadow: looks on and changes nothing"
    reserve = "by forecast" if state.memory is not None else "SGLang's"
    logger.info(
        "sagesched %s: %s, dial %g, %s, admission %s",
        __version__, how, settings.dial, what, reserve,
    )  # fmt: skip
    return result


def _gittins(scheduler: Any, settings: Settings) -> tuple[Callable[[float], QueueOrder], str]:
    """How to build its order for a dial, and what it is about."""
    slots = scheduler.max_running_requests
    cost = settings.cost or CostModel.of_engine(scheduler.max_total_num_tokens, slots)
    grid = LengthGrid(scheduler.model_config.context_len)
    prior = LengthDistribution(grid, cold_start_pmf(grid))
    sign = _priority_sign(scheduler)

    def make(dial: float) -> QueueOrder:
        if role_of(scheduler) == PREFILL:
            return PrefillOrder(prior, cost, dial, lambda: _processed_tokens(scheduler), sign)
        return QueueOrder(prior, cost, dial, slots, sign)

    return make, str(cost)


def _larry(scheduler: Any, settings: Settings) -> tuple[Callable[[float], QueueOrder], str]:
    """The same for larry."""
    pool = scheduler.max_total_num_tokens

    def kv_use() -> float:
        free = scheduler.token_to_kv_pool_allocator.available_size()
        evictable = scheduler.tree_cache.evictable_size()
        return float(1.0 - (free + evictable) / pool)

    sign = _priority_sign(scheduler)
    kv_use()  # a scheduler that does not tell it is refused now

    def make(dial: float) -> QueueOrder:
        return LarryOrder(dial, kv_use, lambda: _processed_tokens(scheduler), sign)

    return make, "predicting nothing"


def _processed_tokens(scheduler: Any) -> int:
    """Prompt tokens it has computed; of a decode server those that it has taken up."""
    state: SchedulerState | None = state_of(scheduler.policy)
    if state is None:
        return 0
    return state.taken_tokens if role_of(scheduler) == DECODE else state.prefilled_tokens


def _priority_sign(scheduler: Any) -> int:
    return int(scheduler.policy.priority_sign) if scheduler.enable_priority_scheduling else 0


def _is_first_rank() -> bool:
    """Of ranks that all do the same one is enough to say so; of another release each of them."""
    try:
        from sglang.srt.runtime_context import get_parallel

        return bool(get_parallel().attn_tp_rank == 0)
    except Exception:
        return True


def _parking(scheduler: Any, settings: Settings, dial: float) -> Parking | None:
    """Who was retracted waits no longer than one that gave way, also where nobody does."""
    if scheduler.enable_priority_scheduling or role_of(scheduler):
        return None  # SGLang preempts, and its classes come first; other queues are ordered
    if _why_no_parking(scheduler, settings):
        return Parking(Limits(0, most_parks=0, most_seconds=settings.parked_s))
    slot_tokens = scheduler.max_total_num_tokens / scheduler.max_running_requests
    return Parking(Limits.of_dial(dial, slot_tokens, settings.parked_s))


def _why_no_parking(scheduler: Any, settings: Settings) -> str:
    """Running requests give way only where a resume is cheap and the radix tree keeps KV."""
    return next(_against_parking(scheduler, settings), "")


def _against_parking(scheduler: Any, settings: Settings) -> Iterator[str]:
    if scheduler.enable_priority_scheduling:
        yield "not with --enable-priority-scheduling"
    if role_of(scheduler):
        yield "not with --disaggregation-mode"
    if settings.parked_s <= 0:
        yield "SAGESCHED_PARKED_S is 0"
    if not scheduler.is_mixed_chunk:
        yield "needs --enable-mixed-chunk"
    if not keeps_kv_of_unfinished():
        yield "not with this release of SGLang"
    if getattr(scheduler.tree_cache, "disable", True):
        yield "needs a radix cache"
    if scheduler.tree_cache.supports_mamba():
        yield "not with Mamba layers"
    if not scheduler.spec_algorithm.is_none():
        yield "not with speculative decoding"
    if scheduler.enable_lora:  # whoever waits may have no place for its adapter
        yield "not with --enable-lora"
    if scheduler.server_args.pp_size != 1:
        yield "not with --pp-size above 1"


def _memory(scheduler: Any, settings: Settings, policy: str) -> Memory | None:
    """What forecasts the running batch's need from predicted lengths; None leaves it to SGLang.

    Raises:
        NotInForceError: it was asked for, and this server has no place for it.
    """
    if settings.admission == STOCK_RESERVE:
        return None
    if not (predicts(policy) and _reserves(scheduler)):
        if settings.admission != FORECAST:
            return None
        raise NotInForceError(
            "SAGESCHED_ADMISSION=forecast needs --schedule-policy gittins, SGLang 0.5.23, one "
            "plain pool of KV memory (no sliding window, no Mamba), no speculative decoding, no "
            "priority scheduling, no --disaggregation-mode and --pp-size 1. Leave it out: requests "
            "are then admitted by SGLang's own rule, in our order."
        )
    return Memory(LengthGrid(scheduler.model_config.context_len))


def _reserves(scheduler: Any) -> bool:
    """Whether SGLang lets us say what is kept free (0.5.20 does not), of one plain pool of KV."""
    return (
        can_reserve(getattr(scheduler, "get_prefill_adder_class", None))
        and not scheduler.enable_priority_scheduling  # SGLang preempts by its own reserve
        and not scheduler.is_hybrid_swa
        and not scheduler.tree_cache.supports_mamba()
        and scheduler.spec_algorithm.is_none()
        and not role_of(scheduler)
        and scheduler.server_args.pp_size == 1
    )


HOOK = Hook(
    target="sglang.srt.managers.scheduler.Scheduler.init_schedule_policy",
    fn=init_schedule_policy,
    reason="give the scheduler's policy object our order",
    parameters=("self",),
)
