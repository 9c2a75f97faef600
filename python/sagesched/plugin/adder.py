"""SGLang's ``PrefillAdder`` with our reserve in place of its own.

It decides which waiting requests join the batch, best first, until memory or a pass's budget is
spent. We change the tokens it keeps free for what is still to be produced, let it look past a few
requests that do not fit, and have a half-prefilled prompt wait where there is no room for it.
"""

from __future__ import annotations

import functools
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


def _or(answer: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Around what an adder of ours decides itself: an error ends it, with SGLang's answer."""

    def around(decide: Callable[..., Any]) -> Callable[..., Any]:
        @counted
        @functools.wraps(decide)
        def run(adder: Any, *args: Any) -> Any:
            try:
                return decide(adder, *args)
            except Exception as error:
                adder._give_up(error)
                return answer

        return run

    return around


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
            reserved = _started(state, running, step)
            self._memory = None if reserved is None else state.memory
            state.passed_over = False
            super().__init__(*args, **kwargs)
            if reserved is not None and not self._reserve(reserved):
                super().__init__(*args, **kwargs)

        def add_one_req(self, req: Any, *args: Any, **kwargs: Any) -> Any:
            """Does it join? SGLang ends the pass at the first that does not fit; we look on."""
            if self._full is not None and self._comes_too_late(req):
                return self._full
            result = super().add_one_req(req, *args, **kwargs)
            if self._memory is None or result.name != "NO_TOKEN":
                return result
            if not passes or not self._may_be_passed(req):
                return result
            state.passed_over = True
            self._full = result
            return type(result).CONTINUE

        def budget_state(self) -> Any:
            """Where a half-prefilled prompt waits the pass is over."""
            result = super().budget_state()
            return type(result).OTHER if self._chunk_waits else result

        def _get_running_request_total_token_offset(self, req: Any) -> Any:
            if self._memory is not None:
                return 0
            return super()._get_running_request_total_token_offset(req)

        def add_chunked_req(self, req: Any) -> Any:
            """A prompt that is half prefilled goes on, or waits until what runs has made room.

            SGLang goes on in any case, trusting that thousands of tokens are free.
            """
            if self._memory is not None and self._must_wait(req):
                self._chunk_waits = True  # nobody else joins before it
                return req
            return super().add_chunked_req(req)

        def _select_prefill_admission(self, req: Any, *, total_tokens: int, **rest: Any) -> Any:
            if self._memory is not None:
                total_tokens += self._asks(req)
            return super()._select_prefill_admission(req, total_tokens=total_tokens, **rest)

        def _update_prefill_budget(
            self, prefix_len: int, extend_len: int, max_new_tokens: int, *args: Any, **kw: Any
        ) -> None:
            if self._memory is not None and max_new_tokens > 0:
                max_new_tokens += self._joins(max_new_tokens)
            super()._update_prefill_budget(prefix_len, extend_len, max_new_tokens, *args, **kw)

        @_or(False)
        def _reserve(self, tokens: float) -> bool:
            self.memory_budget.total_offset += tokens
            return True

        @_or(True)
        def _comes_too_late(self, req: Any) -> bool:
            """To pass those that were passed: nobody does who came a reach after them."""
            place = place_of(req)
            return place is None or place.since >= self._before

        @_or(False)
        def _may_be_passed(self, req: Any) -> bool:
            """A few in a pass, and nobody for long: then it is its turn, whoever else would fit."""
            joined = bool(self.can_run_list) and self.can_run_list[-1] is req
            if joined or not self.memory_budget.has_capacity():
                return False
            place, order = place_of(req), state.order
            if place is None or order is None or place.overdue or not self.running_batch.reqs:
                return False
            self._before = min(self._before, place.since + order.keys.reach)
            if place.passed_at < 0:
                place.passed_at = step()
            self._passed += 1
            return self._passed <= MOST_PASSED and step() - place.passed_at <= PASSED_STEPS

        @_or(False)
        def _must_wait(self, req: Any) -> bool:
            if self.running_batch is None or not self.running_batch.reqs:
                return False
            rest = len(req.full_untruncated_fill_ids) - req.prefix_len
            chunk = min(rest, self.rem_chunk_tokens or rest)
            return bool(self.memory_budget.remaining_current - self.per_req_token_overhead < chunk)

        @_or(0)
        def _asks(self, req: Any) -> int:
            """Tokens beside those that SGLang would reserve for it if it joined, 0 or less."""
            place = place_of(req)
            if place is not None and not req.output_ids:  # later its own KV is in the tree, too
                place.shared = req.prefix_len
            return self._beside(req, self._swa_new_tokens(req))

        @_or(0)
        def _joins(self, stock_tokens: int) -> int:
            """The same of who has joined."""
            request = self.can_run_list[-1]
            beside = self._beside(request, stock_tokens)
            if is_known(request):
                place_of(request).passed_at = -1  # type: ignore[union-attr]
            self._memory.join(request)
            return beside

        def _beside(self, request: Any, stock_tokens: int) -> int:
            """Never more than SGLang would reserve: what fits there fits here."""
            if not is_known(request):
                return 0
            return round(min(float(self._memory.more_for(request)), stock_tokens)) - stock_tokens

        def _give_up(self, error: Exception) -> None:
            self._memory = None
            _give_up(state, error)

    Adder.__name__ = Adder.__qualname__ = stock.__name__
    return Adder


@counted
def _started(state: SchedulerState, running: Any, step: Callable[[], int]) -> float | None:
    """What the running requests need; None where SGLang is to reserve as it does."""
    if state.memory is None or not state.in_force or state.order is None:
        return None
    try:
        return state.memory.start([] if running is None else running.reqs, step())
    except Exception as error:
        _give_up(state, error)
        return None


def _give_up(state: SchedulerState, error: Exception) -> None:
    fallback.report("memory", error)
    state.memory = None
