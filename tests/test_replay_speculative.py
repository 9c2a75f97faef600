"""Speculative decoding: requests of SGLang's own class that age by several tokens a step."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sagesched.replay.engine import EngineConfig

from .replaying import Job, harness, replaying

pytestmark = pytest.mark.server

SMALL = EngineConfig(pool_tokens=4_000, max_running=4, context=1024, chunk=512, mixed=True)
LAWS = {
    "short or long": {20: 0.9, 800: 0.1},
    "middling": {300: 1.0},
    "short": {40: 1.0},
}
"""Output tokens, with their chances."""


def queue_up(job: Job) -> Any:
    """SGLang's scheduler under gittins with speculation, and a waiting request of each law."""
    from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

    from sagesched.lengths import LengthDistribution
    from sagesched.replay.sglang_request import tokenized

    scheduler, grid = harness().scheduler, harness().grid
    scheduler.spec_algorithm = SpeculativeAlgorithm.EAGLE
    scheduler.schedule_policy = "gittins"
    os.environ["SAGESCHED_DIAL"] = "inf"  # by the index alone; the process is the test's own
    scheduler.init_schedule_policy()
    scheduler.waiting_queue.clear()
    for name, law in LAWS.items():
        pmf = np.zeros(len(grid))
        for tokens, chance in law.items():
            pmf[grid.bin_of(tokens)] = chance
        predicted = LengthDistribution(grid, pmf)
        prompt = array("q", range(50))
        scheduler.handle_generate_request(tokenized(name, prompt, 900, predicted))
    return scheduler, {request.rid: request for request in scheduler.waiting_queue}


def keeps(job: Job) -> Any:
    """Who is kept running, best first, at ages that jump; then who waits, best first."""
    from sglang.srt.managers.schedule_batch import ScheduleBatch

    from sagesched.plugin import fallback
    from sagesched.plugin.state import state_of

    scheduler, requests = queue_up(job)
    state = state_of(scheduler.policy)
    running = list(requests.values())
    kept, waiting = [], []
    for accepted in ((), (5, 4, 5), (14, 3, 5), (40, 5, 60)):
        scheduler.waiting_queue.clear()
        state.order.settle(scheduler.waiting_queue)
        for request, tokens in zip(running, accepted, strict=False):
            request.output_ids.extend([7] * tokens)
        order = ScheduleBatch._get_decode_retraction_order(running)
        kept.append([running[i].rid for i in order])
        for request in running:  # retracted, all of them
            scheduler._add_request_to_queue(request, is_retracted=True)
        scheduler.policy.calc_priority(scheduler.waiting_queue, scheduler.running_batch)
        waiting.append([request.rid for request in scheduler.waiting_queue])
    scheduler.waiting_queue.clear()
    return kept, waiting, fallback.count(), state.parking.limits.most_parks


@pytest.fixture(scope="module")
def kept() -> Iterator[Any]:
    with replaying(SMALL, run=keeps) as run:
        yield run(Job([], settings={}))


def test_the_worst_at_its_age_of_now_is_retracted_first(kept: Any) -> None:
    """Past its short answers a request is of the long kind; the last age outlives a law."""
    orders, _, fallbacks, _ = kept
    assert orders[0] == ["short or long", "short", "middling"]
    assert orders[1] == ["short or long", "short", "middling"]
    assert orders[2] == ["short or long", "short", "middling"]
    assert orders[3] == ["short", "middling", "short or long"]
    assert fallbacks == 0


def test_who_comes_back_is_ranked_by_its_age(kept: Any) -> None:
    orders, waiting, _, _ = kept
    assert waiting == orders


def test_nobody_gives_way(kept: Any) -> None:
    assert kept[3] == 0
