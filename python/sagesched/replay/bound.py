"""A mean latency that no schedule of the engine can beat, whatever it knows."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagesched.replay.steptime import Step, StepTime

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELL_TOKENS = 64
"""Step times are evaluated at every 64th context length and rounded down to it in between."""


def lower_bound_mean_ttlt_s(
    arrival_s: ArrayLike,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    pool_tokens: int,
    slots: int,
    step_time: StepTime,
    shared_prefix_tokens: ArrayLike | None = None,
) -> float:
    """Lower bound of the mean time to last token: the largest of three relaxations.

    Every output token of a request comes out at the end of a forward pass that had the request in
    it, prefilling (the last part of) its prompt or decoding; a pass yields at most one token of a
    request. Passes run one after the other, also under overlap, none of them shorter than ``d``,
    the shortest step there is, and none with a request that had not arrived when it began. So:

    (a) *Each request alone.* A request with prompt I and output O is in O passes. The first
        computes at least one prompt token, attending to the whole prompt: any longer prefix may
        have been cached. In each of the others it either decodes, reading its own KV if nothing
        else, or it comes back after a preemption or retraction; then it sat out the pass before,
        and the two take ``2d``. The cheaper of both counts.
    (b) *Memory.* In the pass that yields token k (from 0) the KV pool holds the request's I + k
        tokens. Leave out the prompt tokens that any other request could share: what remains,
        ``own + k``, lies in the pool for this request only, so over all requests of a pass it sums
        to at most M, the pool, in a time of at least d. A fluid machine of speed M/d could have
        done the same work by the same time, with sizes ``V = O * own + O (O - 1) / 2``, released at
        arrival; and on one preemptive machine shortest remaining processing time first has the
        least total flow time there is (Schrage, Operations Research 16, 1968).
    (c) *Slots.* A pass yields at most ``slots`` tokens. The same with speed slots/d and sizes O.

    Chunked and mixed prefill, recomputation, swapping, a page size, reserved memory and waiting
    for a step to end only add time, passes or memory. The argument needs two things. A step with
    more work is not shorter than one with less, among steps that decode, prefill, or do both. And
    outputs are not shared: requests with the very same prompt produce different tokens (the replay
    gives them different ones, except to every 441st request).

    Any part of a run's requests may be given, such as those after a warm-up: the others can only
    get in their way. SVF (arXiv 2606.22327) has (b) for requests that are all there at the start.

    Args:
        arrival_s: ``[n]`` seconds, in any order.
        prompt_tokens: ``[n]`` at least 1.
        output_tokens: ``[n]`` produced, at least 1.
        pool_tokens: the KV pool.
        slots: most requests that run at once.
        step_time: the model that the run's clock went by.
        shared_prefix_tokens: ``[n]`` how much of each prompt any other request shares
            (:func:`shared_prefix_tokens`); None if that is not known: then all of it.

    Returns:
        Seconds.

    Raises:
        ValueError: no requests, arrays of different lengths, lengths below 1, no pool or slots.
    """
    arrival, prompt, output, shared = _checked(
        arrival_s, prompt_tokens, output_tokens, shared_prefix_tokens
    )
    if pool_tokens < 1 or slots < 1:
        raise ValueError("lower bound: pool_tokens and slots must be at least 1")
    shortest = _shortest_step_s(step_time)
    alone = _alone_s(prompt, output, step_time, shortest)
    own = prompt - shared
    volume = output * own + output * (output - 1) / 2
    return max(
        float(alone.mean()),
        srpt_mean_flow_s(arrival, volume * (shortest / pool_tokens)),
        srpt_mean_flow_s(arrival, output * (shortest / slots)),
    )


def shared_prefix_tokens(prompts: Sequence[array[int]]) -> Ints:
    """Length of the longest prefix that each prompt has in common with any other one, tokens.

    Args:
        prompts: token ids, any number of prompts.
    """
    # In sorted order the longest common prefix is that with a neighbour.
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    shared = np.zeros(len(prompts), dtype=np.int64)
    for first, second in pairwise(order):
        common = _common_prefix(prompts[first], prompts[second])
        shared[first] = max(shared[first], common)
        shared[second] = common  # the neighbour on its other side comes next
    return shared


def srpt_mean_flow_s(arrival_s: ArrayLike, service_s: ArrayLike) -> float:
    """Mean of completion minus arrival on one preemptive machine, shortest remaining first.

    Args:
        arrival_s: ``[n]`` in any order.
        service_s: ``[n]`` seconds of the whole machine, at least 0.
    """
    arrival = np.asarray(arrival_s, dtype=np.float64)
    order = np.argsort(arrival, kind="stable")
    times = arrival[order].tolist()
    services = np.asarray(service_s, dtype=np.float64)[order].tolist()
    remaining: list[tuple[float, float]] = []  # (service left, arrival), the shortest first
    now, total = 0.0, 0.0
    for at, service in zip(times, services, strict=True):
        now, done = _work_until(at, now, remaining)
        total += done
        heapq.heappush(remaining, (service, at))
    total += _work_until(float("inf"), now, remaining)[1]
    return total / len(times)


def _work_until(
    until: float, now: float, remaining: list[tuple[float, float]]
) -> tuple[float, float]:
    """Serve from ``now``; returns the time reached and the flow times of who got done, summed."""
    flow = 0.0
    while remaining and now < until:
        left, arrived = remaining[0]
        if now + left > until:
            heapq.heapreplace(remaining, (left - (until - now), arrived))
            break
        heapq.heappop(remaining)
        now += left
        flow += now - arrived
    return max(now, until), flow


def _shortest_step_s(step_time: StepTime) -> float:
    """The least that any pass takes; an empty one stands for moving KV back free of charge."""
    return min(
        step_time.seconds(step)
        for step in (Step(), _decode(1), _prefill(1), _decode_beside_prefill(1))
    )


def _alone_s(prompt: Ints, output: Ints, step_time: StepTime, shortest: float) -> Floats:
    """[n] seconds from a request's first pass to the end of its last one, with nobody else."""
    cells = int((prompt + output).max()) // CELL_TOKENS + 1
    contexts = [max(1, cell * CELL_TOKENS) for cell in range(cells)]
    first = np.array([step_time.seconds(_prefill(context)) for context in contexts])
    later = np.array([_token_s(context, step_time, shortest) for context in contexts])
    # Passes with a context of 0, 1, ..., x - 1 tokens take this long, summed.
    so_far = np.concatenate([[0.0], np.cumsum(np.repeat(later, CELL_TOKENS))])
    return np.asarray(first[prompt // CELL_TOKENS] + so_far[prompt + output - 1] - so_far[prompt])


def _token_s(context: int, step_time: StepTime, shortest: float) -> float:
    """The least for a token after the first one, with that many tokens of context."""
    return min(
        step_time.seconds(_decode(context)),
        step_time.seconds(_decode_beside_prefill(context)),
        2 * shortest,
    )


def _decode(context: int) -> Step:
    return Step(decode_requests=1, decode_kv_tokens=context)


def _prefill(context: int) -> Step:
    """One prompt token, the rest of the context cached; harness: n * (prefix + n / 2)."""
    return Step(prefill_tokens=1, prefill_attention=context - 0.5, prefill_requests=1)


def _decode_beside_prefill(context: int) -> Step:
    return Step(1, context, prefill_tokens=1, prefill_attention=0.5, prefill_requests=1)


def _common_prefix(first: array[int], second: array[int]) -> int:
    size = min(len(first), len(second))
    one, other = (np.asarray(prompt[:size], dtype=np.int64) for prompt in (first, second))
    differs = np.flatnonzero(one != other)
    return int(differs[0]) if len(differs) else size


def _checked(
    arrival_s: ArrayLike, prompt: ArrayLike, output: ArrayLike, shared: ArrayLike | None
) -> tuple[Floats, Ints, Ints, Ints]:
    arrival = np.asarray(arrival_s, dtype=np.float64)
    lengths: list[Any] = [np.asarray(value, dtype=np.int64) for value in (prompt, output)]
    lengths.append(lengths[0] if shared is None else np.asarray(shared, dtype=np.int64))
    if not arrival.size or any(value.shape != arrival.shape for value in lengths):
        shapes = ", ".join(str(value.shape) for value in (arrival, *lengths))
        raise ValueError(f"lower bound: needs arrays of one length, at least 1; got {shapes}")
    if min(lengths[0].min(), lengths[1].min()) < 1:
        raise ValueError("lower bound: prompts and outputs must have at least 1 token")
    if (lengths[2] < 0).any() or (lengths[2] > lengths[0]).any():
        raise ValueError("lower bound: a shared prefix must lie between 0 and the prompt's length")
    return arrival, lengths[0], lengths[1], lengths[2]
