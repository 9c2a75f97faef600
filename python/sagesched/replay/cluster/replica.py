"""A replica: a run whose requests are sent to it, and that stops before each of its steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from sagesched.balance import ReplicaLoad
from sagesched.lengths import LengthDistribution
from sagesched.replay.clock import START_S
from sagesched.replay.cluster.turns import Turns
from sagesched.replay.recorder import Live
from sagesched.replay.run import MOST_IDLE_TURNS, Run
from sagesched.replay.steptime import Step
from sagesched.replay.trace import TraceRequest

RATE_WINDOW_S = 10.0
"""Rates that a replica reports are of so many seconds."""


class ReplicaRun(Run):
    """See `Run`; its arguments. The cluster sets what is below before the first step.

    Attributes:
        inbox: what is on its way: arrival number, request, predicted output length.
        closing: whether the loop is to end.
        requests: sent here so far.
        turns: the event loop, step by step.
        left: called with the arrival number of a request that has ended.
        sampled: called after each forward pass.
    """

    left: Callable[[int], None]
    sampled: Callable[[], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inbox: deque[tuple[int, TraceRequest, LengthDistribution | None]] = deque()
        self.closing = False
        self.requests = 0
        self.turns = Turns(self.loop)
        self._released: deque[tuple[float, int]] = deque()
        self._released_tokens = 0
        self._prefill_tokens = 0
        self._prefill_s = 0.0

    def send(
        self, number: int, request: TraceRequest, predicted: LengthDistribution | None
    ) -> None:
        """It is on its way; a replica that sleeps wakes up."""
        if self.sleeps():
            self.clock.now = max(self.clock.now, self.due(request))
        self.inbox.append((number, request, predicted))
        self.requests += 1

    def follows(self) -> bool:
        """Whoever chooses a replica waits for what is predicted."""
        return False

    def sleeps(self) -> bool:
        """Nothing to do until a request comes."""
        self.idle_turns += 1  # as the step would that it is about
        sleeps = not self.inbox and self.idle()
        self.idle_turns -= 1
        return sleeps

    def recv_requests(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Stop here; then what was sent meanwhile."""
        self.turns.pause()
        if self.closing:
            self.scheduler.gracefully_exit = True
            return []
        self.idle_turns += 1
        if self.idle_turns > MOST_IDLE_TURNS:
            raise RuntimeError(
                f"replay: SGLang's scheduler does not go on, with {len(self.live)} requests "
                "unfinished; does the KV pool hold the longest of them?"
            )
        due = [self.take(*arrival) for arrival in self.inbox]
        self.inbox.clear()
        return due

    def sample(self) -> None:
        """The time line is of all replicas together."""
        self.sampled()

    def load(self, sequence: int) -> ReplicaLoad:
        """What it would report now."""
        scheduler = self.scheduler
        waiting = scheduler.waiting_queue
        free = scheduler.token_to_kv_pool_allocator.available_size()
        evictable = scheduler.tree_cache.evictable_size()
        hits = self.recorder.cached_tokens
        missed = 1.0 - hits / max(1, hits + self.recorder.prefill_tokens)
        uncached = missed * sum(len(r.origin_input_ids) + len(r.output_ids) for r in waiting)
        chunked = scheduler.chunked_req
        if chunked is not None:
            uncached += max(0, len(chunked.origin_input_ids) - chunked.kv.kv_allocated_len)
        return ReplicaLoad(
            running=len(self.live) - len(waiting),
            waiting=len(waiting),
            waiting_uncached_tokens=int(uncached),
            used_tokens=int(scheduler.max_total_num_tokens - free - evictable),
            capacity_tokens=int(scheduler.max_total_num_tokens),
            max_running=int(scheduler.max_running_requests),
            release_per_s=self._release_per_s(),
            prefill_per_s=self._prefill_tokens / self._prefill_s if self._prefill_s else 0.0,
            sequence=sequence,
            made_s=self.clock.now,
        )

    def _release_per_s(self) -> float:
        now = self.clock.now
        while self._released and self._released[0][0] < now - RATE_WINDOW_S:
            self._released_tokens -= self._released.popleft()[1]
        return self._released_tokens / max(1.0, min(RATE_WINDOW_S, now - START_S))

    def _advance(self, step: Step, seconds: float) -> None:
        if step.prefill_tokens:
            self._prefill_tokens += step.prefill_tokens
            self._prefill_s += seconds
        super()._advance(step, seconds)

    def _leave(self, request: Any, live: Live, now: float) -> None:
        held = live.prompt_tokens + len(request.output_ids)
        super()._leave(request, live, now)
        self._released.append((self.clock.now, held))
        self._released_tokens += held
        self.left(live.number)
