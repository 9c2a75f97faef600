"""LoRA in SGLang's own admission: who has no place for its adapter is passed by, in our order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from sagesched.replay.engine import EngineConfig

from .replaying import Job, harness, replaying, request, run_job

pytestmark = pytest.mark.server

SMALL = EngineConfig(pool_tokens=4_000, max_running=3, context=512, chunk=512, mixed=True)
ADAPTERS = 2
"""Of a batch, at most."""


def with_adapters(job: Job) -> Any:
    """Replay; a request's cluster is its adapter. Beside the result the adapters of each batch."""
    from sglang.srt.lora.lora_manager import LoRAManager

    import sagesched.replay.run as run

    scheduler = harness().scheduler
    manager = LoRAManager.__new__(LoRAManager)  # of which admission asks one thing
    manager.max_loras_per_batch, manager.num_pinned_loras = ADAPTERS, 0
    scheduler.tp_worker.model_runner.lora_manager = manager
    names = {f"r{i:09d}": each.cluster for i, each in enumerate(job.requests)}
    batches: list[set[str]] = []
    tokenized, forward = run.tokenized, run.Run.forward

    def named(rid: str, *args: Any, **more: Any) -> Any:
        made = tokenized(rid, *args, **more)
        made.lora_id = names[rid]
        return made

    def noted(self: Any, batch: Any, *args: Any, **more: Any) -> Any:
        batches.append({each.lora_id for each in batch.reqs})
        return forward(self, batch, *args, **more)

    run.tokenized, run.Run.forward = named, noted
    scheduler.enable_lora = "" not in names.values()
    try:
        return run_job(job), batches
    finally:
        run.tokenized, run.Run.forward = tokenized, forward


@pytest.fixture(scope="module")
def adapted() -> Iterator[Any]:
    with replaying(SMALL, run=with_adapters) as run:
        yield run


def test_who_has_no_place_is_passed_by_and_comes_later(adapted: Any) -> None:
    requests = [
        request(0.0, 20, 90, number=0, cluster="a"),
        request(0.0, 20, 60, number=1, cluster="b"),
        request(2.0, 20, 4, number=2, cluster="c"),
        request(2.0, 20, 20, number=3, cluster="a"),
        request(2.0, 20, 10, number=4, cluster="a"),
        request(2.0, 20, 3, number=5, cluster="c"),
    ]
    result, batches = adapted(Job(requests, "gittins", settings={"dial": math.inf}))
    assert result.output_tokens.tolist() == [each.output_tokens for each in requests]
    assert result.fallbacks == 0
    assert max(map(len, batches)) == ADAPTERS
    first = result.first_s
    assert first[4] < first[3] < result.last_s[1] < min(first[2], first[5])
    stock, _ = adapted(Job(requests, "fcfs"))
    assert stock.first_s[3] < stock.first_s[4]


def test_nobody_gives_way_where_adapters_may_have_no_place(adapted: Any) -> None:
    def crowd(*adapters: str) -> list[Any]:
        running = [request(0.0, 100, 300, number=i, cluster=adapters[i % 2]) for i in range(3)]
        return running + [
            request(20.0 + i, 150, 10, number=10 + i, cluster=adapters[i % 2]) for i in range(6)
        ]

    def job(*adapters: str) -> Job:
        return Job(crowd(*adapters), "gittins", settings={"dial": 4.0})

    assert adapted(job("a", "b"))[0].preemptions.sum() == 0
    assert adapted(job("", ""))[0].preemptions.sum() > 0
