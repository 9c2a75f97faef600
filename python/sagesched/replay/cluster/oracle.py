"""What only a replay can know of a replica: its true work, and when a request would truly start."""

from __future__ import annotations

import heapq

from sagesched.replay.cluster.replica import ReplicaRun
from sagesched.replay.recorder import Live
from sagesched.replay.steptime import Step
from sagesched.replay.trace import TraceRequest

PREFILL_TOKENS = 4096
"""Length of the prompt that the speed of prefill is taken from."""

TIE_S = 0.1
"""Among replicas that start a request at once the emptiest: what a full pool counts, seconds."""


def work_left(replica: ReplicaRun, new: TraceRequest, uncached: float) -> float:
    """Tokens still to compute, a new request's with it, by the replica's speed and pool.

    Prompts that are not begun and outputs that are not done; of the new request's prompt the
    tokens that are not cached there.
    """
    tokens = uncached + min(new.output_tokens, replica.max_output_tokens)
    for live in replica.live.values():
        tokens += live.output_tokens - live.produced
        if not live.started:
            tokens += live.prompt_tokens
    for _, request, _ in replica.inbox:
        tokens += len(request.prompt) + min(request.output_tokens, replica.max_output_tokens)
    return tokens * prefill_token_s(replica) / replica.situation.pool_tokens


def start_s(replica: ReplicaRun, new: TraceRequest, uncached: float) -> float:
    """Seconds until a new request is admitted, first come, first served, with true lengths.

    A walk from end to end of running requests by SGLang's rule of admission: prompt and
    ``max_new_tokens`` must fit beside what runs and the share of its ``max_new_tokens`` that is
    kept free for it. Cached prefixes are known for the new request only.
    """
    running, used, reserved = _running(replica)
    ratio = replica.scheduler.new_token_ratio_tracker.current
    pool, slots = replica.situation.pool_tokens, replica.situation.slots
    most = replica.max_output_tokens
    now = prefill = 0.0
    for prompt, output, computed in _queue(replica, new, uncached):
        while running and (len(running) >= slots or used + ratio * reserved + prompt + most > pool):
            steps = running[0][0] - now
            used += steps * len(running)
            reserved -= steps * len(running)
            now = running[0][0]
            while running and running[0][0] <= now:
                _, held, produced = heapq.heappop(running)
                used -= held
                reserved -= most - produced
        heapq.heappush(running, (now + output, prompt + output, output))
        used += prompt
        reserved += most
        prefill += computed
    token_s, fullness = replica.situation.token_s, used / pool
    return now * token_s + prefill * prefill_token_s(replica) + TIE_S * fullness


def prefill_token_s(replica: ReplicaRun) -> float:
    """Seconds that a prompt token takes."""
    pairs = PREFILL_TOKENS * PREFILL_TOKENS / 2
    step = Step(prefill_tokens=PREFILL_TOKENS, prefill_attention=pairs, prefill_requests=1)
    return replica.step_time.seconds(step) / PREFILL_TOKENS


def _running(replica: ReplicaRun) -> tuple[list[tuple[float, float, int]], float, float]:
    """A heap of (steps left, KV at its end, output), KV used, tokens they may still produce."""
    waiting = {request.rid for request in replica.scheduler.waiting_queue}
    heap: list[tuple[float, float, int]] = []
    reserved = 0.0
    own = 0
    lives: list[Live] = [live for rid, live in replica.live.items() if rid not in waiting]
    for live in lives:
        own += live.prompt_tokens + live.produced
        reserved += replica.max_output_tokens - live.produced
    used = replica.kv_use() * replica.situation.pool_tokens
    shared = max(0.0, own - used) / max(1, len(lives))  # of each prompt, as if evenly
    for live in lives:
        held = max(0.0, live.prompt_tokens - shared) + live.output_tokens
        heap.append((live.output_tokens - live.produced, held, live.output_tokens))
    heapq.heapify(heap)
    return heap, used, reserved


def _queue(
    replica: ReplicaRun, new: TraceRequest, uncached: float
) -> list[tuple[float, int, float]]:
    """(prompt tokens that need memory, output, prompt tokens to compute), the new one last."""
    most = replica.max_output_tokens
    queue: list[tuple[float, int, float]] = []
    for request in replica.scheduler.waiting_queue:
        live = replica.live[request.rid]
        left = live.output_tokens - live.produced
        queue.append((live.prompt_tokens + live.produced, left, live.prompt_tokens))
    for _, request, _ in replica.inbox:
        size = len(request.prompt)
        queue.append((size, min(request.output_tokens, most), size))
    queue.append((uncached, min(new.output_tokens, most), uncached))
    return queue
