"""What differs where prefill and decode are servers of their own (``--disaggregation-mode``).

On a prefill server a request waits twice: for what its transfer needs (the bootstrap queue), then
to be computed (the waiting queue). There nothing is decoded, so the engine's work is counted in
prompt tokens. On a decode server a request waits for KV memory (the queue for pre-allocation); its
prompt is computed elsewhere and costs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sagesched.cost import CostModel
from sagesched.lengths import LengthDistribution
from sagesched.plugin.anchor import Anchor
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.place import Place, mean_of, place_of

PREFILL, DECODE = "prefill", "decode"


def role_of(scheduler: Any) -> str:
    """``prefill`` or ``decode``; empty for a server that does both. It may change while idle."""
    mode = getattr(scheduler, "disaggregation_mode", None)
    name = scheduler.server_args.disaggregation_mode if mode is None else mode.value  # at start
    return str(name) if name in (PREFILL, DECODE) else ""


def ordered_queue(scheduler: Any, role: str) -> list[Any]:
    """The queue that `SchedulerState.order` holds, in that role."""
    if role == DECODE:
        return scheduler.disagg_decode_prealloc_queue.queue  # type: ignore[no-any-return]
    return scheduler.waiting_queue  # type: ignore[no-any-return]


class PrefillOrder(QueueOrder):
    """A queue of a prefill server: by the same index, since what is served first here is decoded
    first there; arrivals, and what waits, are counted in prompt tokens.

    Args:
        prior, cost, dial, priority_sign: as of ``QueueOrder``.
        processed_tokens: prompt tokens the engine has computed, the same on every rank.
    """

    def __init__(
        self,
        prior: LengthDistribution,
        cost: CostModel,
        dial: float,
        processed_tokens: Callable[[], int],
        priority_sign: int = 0,
    ) -> None:
        self._processed_tokens = processed_tokens
        anchor = Anchor(dial, 1, mean_of(prior), deepens=False)
        super().__init__(prior, cost, dial, priority_sign=priority_sign, anchor=anchor)

    def _now(self, step: int) -> float:
        return float(self._processed_tokens())

    def _service(self, place: Place, prompt: int) -> float:
        return float(prompt)

    def _to_come(self, place: Place, age: int, prompt: int) -> int:
        return max(1, prompt + age)


def dress(entry: Any) -> None:
    """Let a decode server's ``DecodeRequest`` be read as a ``WaitingRequest``: what it holds of the
    request does not change before it leaves the queue."""
    request = entry.req
    entry.rid = request.rid
    entry.origin_input_ids = request.origin_input_ids
    entry.output_ids = request.output_ids
    place = place_of(request)
    if place is not None:  # it comes back, its KV to be computed anew elsewhere
        entry._sagesched_place = place
