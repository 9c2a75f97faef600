"""SGLang's ``PrefillAdder`` with our reserve in place of its own.

It decides which waiting requests join the batch, best first, until memory or a pass's budget is
spent. We change the tokens it keeps free for what is still to be produced, let it look past a few
requests that do not fit, and have a half-prefilled prompt wait where there is no room for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sagesched.plugin import fallback
from sagesched.plugin.memory import is_known
from sagesched.plugin.place import place_of
from sagesched.plugin.state import SchedulerState
from sagesched.plugin.timing import counted

MOST_PASSED = 8
"""In a pass; each costs one look at the radix tree."""
PASSED_STEPS = 256
"""After as many steps nobody who is behind it in the order passes a request any more; and never who
came so much later that the order would not let it overtake."""
OVERRIDDEN = (
    "add_one_req",
    "budget_state",
    "_get_running_request_total_token_offset",
    "_select_prefill_admission",
    "_update_prefill_budget",
    "add_chunked_req",
)
"""What of SGLang's class we change; a release without one of them reserves as it does."""


def can_reserve(get_class: Callable[[], Any] | None) -> bool:
    """Whether this is the seam of a release that we know, 0.5.23's; 0.5.20 has none."""
    return get_class is not None and all(hasattr(get_class(), name) for name in OVERRIDDEN)


def adder_class(
    stock: Any, state: SchedulerState, step: Callable[[], int], passes: bool = True
) -> Any:
    """A subclass of SGLang's class that asks ``state.memory``; stock where that is None.

    Whatever fails in it ends it: from then on SGLang reserves as it always did.

    Args:
        stock: SGLang's class.
        state: of the scheduler.
        step: the engine's step count of now.
        passes: whether requests that do not fit may be passed; not with LoRA, where SGLang takes
            whoever was looked at for admitted.
    """

    class Adder(stock):  # type: ignore[misc]
        _memory: Any = None
        _passed = 0
        _full: Any = None
        _before = math.inf
        _chunk_waits = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            running = kwargs.get("running_batch", args[3] if len(args) > 3 else None)
            reserved = _started(state, running, step())
            self._memory = None if reserved is None else state.memory
            state.passed_over = False
            super().__init__(*args, **kwargs)
            if reserved is not None:
                self.memory_budget.total_offset += reserved

        def add_one_req(self, req: Any, *args: Any, **kwargs: Any) -> Any:
            """Does it join? SGLang ends the pass at the first that does not fit; we look on."""
            if self._full is not None and self._comes_too_late(req):
                return self._full
            result = super().add_one_req(req, *args, **kwargs)
            if self._memory is None or result.name != "NO_TOKEN":
                return result
            joined = bool(self.can_run_list) and self.can_run_list[-1] is req
            nothing_is_left = joined or not self.memory_budget.has_capacity()
            if nothing_is_left or not passes or not self._may_be_passed(req):
                return result
            state.passed_over = True
            self._full = result
            return type(result).CONTINUE

        def budget_state(self) -> Any:
            """Where a half-prefilled prompt waits the pass is over."""
            result = super().budget_state()
            return type(result).OTHER if self._chunk_waits else result

        @counted
        def _comes_too_late(self, req: Any) -> bool:
            """To pass those that were passed: nobody does who came a reach after them."""
            place = place_of(req)
            return place is None or place.since >= self._before

        @counted
        def _may_be_passed(self, req: Any) -> bool:
            """A few in a pass, and nobody for long: then it is its turn, whoever else would fit."""
            place, order = place_of(req), state.order
            if place is None or order is None or place.overdue or not self.running_batch.reqs:
                return False
            self._before = min(self._before, place.since + order.keys.reach)
            if place.passed_at < 0:
                place.passed_at = step()
            self._passed += 1
            return self._passed <= MOST_PASSED and step() - place.passed_at <= PASSED_STEPS

        def _get_running_request_total_token_offset(self, req: Any) -> Any:
            if self._memory is not None:
                return 0
            return super()._get_running_request_total_token_offset(req)

        def add_chunked_req(self, req: Any) -> Any:
            """A prompt that is half prefilled goes on, or waits until what runs has made room.

            SGLang goes on in any case, trusting that thousands of tokens are free.
            """
            if self._memory is not None and self.running_batch is not None:
                rest = len(req.full_untruncated_fill_ids) - req.prefix_len
                chunk = min(rest, self.rem_chunk_tokens or rest)
                room = self.memory_budget.remaining_current - self.per_req_token_overhead
                if self.running_batch.reqs and room < chunk:
                    self._chunk_waits = True  # nobody else joins before it
                    return req
            return super().add_chunked_req(req)

        def _select_prefill_admission(self, req: Any, *, total_tokens: int, **rest: Any) -> Any:
            if self._memory is not None:
                stock_tokens = self._swa_new_tokens(req)
                place = place_of(req)
                if place is not None and not req.output_ids:  # later its own KV is in the tree, too
                    place.shared = req.prefix_len
                total_tokens += round(self._more_for(req, stock_tokens)) - stock_tokens
            return super()._select_prefill_admission(req, total_tokens=total_tokens, **rest)

        def _update_prefill_budget(
            self, prefix_len: int, extend_len: int, max_new_tokens: int, *args: Any, **kw: Any
        ) -> None:
            if self._memory is not None and max_new_tokens > 0:
                request = self.can_run_list[-1]
                max_new_tokens = round(self._more_for(request, max_new_tokens))
                self._join(request)
            super()._update_prefill_budget(prefix_len, extend_len, max_new_tokens, *args, **kw)

        @counted
        def _more_for(self, request: Any, stock_tokens: int) -> float:
            """Never more than SGLang would reserve: what fits there fits here."""
            try:
                if is_known(request):
                    return min(float(self._memory.more_for(request)), stock_tokens)
            except Exception as error:
                _give_up(state, error)
            return stock_tokens

        @counted
        def _join(self, request: Any) -> None:
            try:
                if is_known(request):
                    place_of(request).passed_at = -1  # type: ignore[union-attr]
                self._memory.join(request)
            except Exception as error:
                _give_up(state, error)

    Adder.__name__ = Adder.__qualname__ = stock.__name__
    return Adder


@counted
def _started(state: SchedulerState, running: Any, step: int) -> float | None:
    """What the running requests need; None where SGLang is to reserve as it does."""
    if state.memory is None or not state.in_force or state.order is None:
        return None
    try:
        return state.memory.start([] if running is None else running.reqs, step)
    except Exception as error:
        _give_up(state, error)
        return None


def _give_up(state: SchedulerState, error: Exception) -> None:
    fallback.report("memory", error)
    state.memory = None
