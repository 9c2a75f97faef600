"""The hierarchical cache in SGLang's scheduler: hits in host memory, parked KV that is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sagesched.replay.engine import EngineConfig

from .engine_modes import host_tier
from .replaying import Job, harness, replaying, request, run_job

pytestmark = pytest.mark.server

SMALL = EngineConfig(pool_tokens=1_200, max_running=4, context=1024, chunk=512, mixed=True)


def looking(job: Job) -> Any:
    """Replay; beside the result what each look-up found (request, tokens, of them in host memory),
    and how often SGLang asked its storage for a request."""
    from sagesched.plugin.hooks import queue_order

    scheduler = harness().scheduler
    assert scheduler.enable_hierarchical_cache
    found: list[tuple[str, int, int]] = []
    fetched: list[str] = []
    stock = queue_order.match_prefix
    scheduler._prefetch_kvcache = lambda request, *_: fetched.append(request.rid)

    def match_prefix(request: Any, tree_cache: Any) -> int:
        tokens = stock(request, tree_cache)
        found.append((request.rid, tokens, int(request.host_hit_length)))
        return tokens

    queue_order.match_prefix = match_prefix
    try:
        result = run_job(job)
    finally:
        queue_order.match_prefix = stock
    return result, found, len(fetched)


@pytest.fixture(scope="module")
def tiered() -> Iterator[Any]:
    with replaying(SMALL, prepare=host_tier, run=looking) as run:
        yield run


@pytest.fixture(scope="module")
def plain() -> Iterator[Any]:
    with replaying(SMALL) as run:
        yield run


def conversation() -> list[Any]:
    """A long prompt, others that drive it out of the pool, then it again behind a crowd."""
    first = [request(0.0, 500, 2, number=0)]
    others = [request(10.0 + 5 * i, 500, 2, number=2 + 2 * i) for i in range(4)]
    crowd = [request(60.0, 100, 40, number=20 + i) for i in range(4)]
    again = [request(62.0, 500, 8, number=40), request(62.5, 500, 8, number=0)]
    return [*first, *others, *crowd, *again]


def test_a_hit_in_host_memory_counts_as_sglang_counts_it(tiered: Any) -> None:
    result, looks, _ = tiered(Job(conversation(), "gittins", settings={"dial": 0.0}))
    assert result.fallbacks == 0
    found = [(tokens, host) for rid, tokens, host in looks if rid == "r000000010"]
    assert found
    assert all(tokens == 499 and host > 0 for tokens, host in found)
    assert result.cached_tokens == 499, "and it was loaded"


def test_parked_requests_resume_from_the_host_tier(tiered: Any, plain: Any) -> None:
    """Memory is scarce: what is parked is driven out of the device's pool."""
    requests = [request(0.0, 100, 300, number=i) for i in range(3)]
    requests += [request(20.0 + i, 400, 10, number=10 + 2 * i) for i in range(12)]
    job = Job(requests, "gittins", settings={"dial": 4.0})
    result, _, asked = tiered(job)
    parked = int(result.preemptions.sum())
    assert parked >= 3
    assert result.fallbacks == 0
    assert result.output_tokens.tolist() == [each.output_tokens for each in requests]
    assert result.recomputed_tokens == parked, "the last token of each"
    assert asked == len(requests) + parked + result.retractions.sum(), "no ranking reads storage"
    assert plain(job).recomputed_tokens > 100
