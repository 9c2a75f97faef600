"""The order in SGLang's other modes, on real servers; ``docs/modes.md`` says which is tested where."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from cpu_engine.server import EngineServer

from .serving import start_server
from .test_server_order import kinds, known_jobs, learn, one_slot, waiting_jobs
from .traffic import (
    Job,
    abort,
    completion_order,
    our_metrics,
    post,
    run_behind,
    run_job,
    run_spaced,
    session,
    until_load,
)

pytestmark = pytest.mark.server

CHECKSUM = re.compile(r"(PP\d|TP\d)[^\n]*sagesched: order checksum (\w+) after (\d+) passes")


def nothing_failed(url: str) -> None:
    """No fallback was counted; the server needs --enable-metrics."""
    found = asyncio.run(our_metrics(url))
    assert [name for name in found if "fallbacks" in name] == []


def checksums(server: EngineServer) -> dict[int, dict[str, str]]:
    """By number of passes: what each rank logged."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for rank, value, passes in CHECKSUM.findall(server.log_path.read_text(errors="replace")):
        found[int(passes)][rank] = value
    return found


def check_ranks_agree(server: EngineServer, ranks: set[str], least_passes: int) -> None:
    found = {passes: sums for passes, sums in checksums(server).items() if set(sums) == ranks}
    assert max(found, default=0) >= least_passes, checksums(server)
    assert [passes for passes, sums in found.items() if len(set(sums.values())) > 1] == []


def crowd(count: int) -> list[Job]:
    """More than run at once, of both kinds."""
    jobs = waiting_jobs("LSSLSLLS" * (count // 8), lengths=(6, 40))
    assert len(jobs) == count
    return jobs


def serve_all(url: str, jobs: Sequence[Job], gap_s: float = 0.005) -> list[Job]:
    done = asyncio.run(run_spaced(url, jobs, gap_s=gap_s))
    assert [(job.status, job.completion_tokens) for job in done] == [
        (200, job.tokens) for job in jobs
    ]
    return done


def test_pipeline_parallel_ranks_agree() -> None:
    """Two ranks with a queue each, and a batch in flight on each: equal orders, pass by pass."""
    args = ["--schedule-policy", "gittins", "--pp-size", "2", "--max-running-requests", "4"]
    env = {"SAGESCHED_DEBUG_ORDER": "1", "SAGESCHED_DEADLINE_MS": "5000"}
    with start_server(*args, env=env) as server:
        learn(server.url)
        serve_all(server.url, crowd(64))
        check_ranks_agree(server, {"PP0", "PP1"}, least_passes=64)


def with_priority(job: Job, priority: int | None) -> Job:
    job.extra = {**(job.extra or {}), "priority": priority}
    return job


@pytest.fixture(scope="module")
def classes() -> Any:
    args = ["--enable-priority-scheduling", "--enable-metrics", "--max-queued-requests", "12"]
    with one_slot("gittins", *args) as server:
        learn_slowly(server.url)
        yield server


def learn_slowly(url: str) -> None:
    """Both kinds of prompts, no more of them at once than the queue takes."""
    jobs = known_jobs()
    for i in range(0, len(jobs), 8):
        serve_all(url, jobs[i : i + 8])


def test_classes_come_first_and_the_index_decides_inside(classes: EngineServer) -> None:
    jobs = waiting_jobs("LSLSLSLSLS")
    for job, priority in zip(jobs, (0, 0, 5, 5, None, None, 5, 5, 0, 0), strict=True):
        with_priority(job, priority)
    first = [with_priority(Job("blocker", "Count on and on.", 3900), 100)]
    done = asyncio.run(run_behind(classes.url, first, jobs))
    of = {job.name: (job.extra or {}).get("priority") for job in jobs}
    order = [name for name in completion_order(done) if name in of]
    assert [of[name] for name in order] == [5, 5, 5, 5, 0, 0, 0, 0, None, None]
    assert kinds(order) == "SSLLSSLLSL"
    nothing_failed(classes.url)


def test_sglang_still_preempts_for_a_better_class(classes: EngineServer) -> None:
    async def preempted() -> tuple[Job, Job]:
        async with session() as client:
            low = with_priority(Job("low", "Go on and on.", 1500), 0)
            task = asyncio.create_task(run_job(client, classes.url, low))
            await until_load(classes.url, running=1, waiting=0)
            high = with_priority(Job("high", "Quickly now.", 4), 50)
            await run_job(client, classes.url, high)
            return high, await task

    high, low = asyncio.run(preempted())
    assert high.completion_tokens == 4
    assert low.completion_tokens == 1500
    assert high.done < low.done
    nothing_failed(classes.url)


def test_a_full_queue_turns_the_worst_class_away(classes: EngineServer) -> None:
    async def fill() -> dict[str, int]:
        url = classes.url
        async with session() as client:

            def send(job: Job, priority: int) -> asyncio.Task[Job]:
                return asyncio.create_task(run_job(client, url, with_priority(job, priority)))

            rid = "fills-the-slot"
            blocker = send(Job("b", "Count on and on.", 3900, {"rid": rid}), 100)
            await until_load(url, running=1, waiting=0)
            waiting = []
            for i in range(12):
                waiting.append(send(Job(f"w{i}", f"Wait, {i}.", 3), 1))
                await until_load(url, running=1, waiting=i + 1)
            refused = await send(Job("refused", "Too late.", 3), 1)
            better = send(Job("better", "Let me in.", 3), 2)
            await asyncio.sleep(0.5)
            await abort(url, rid, blocker)
            done = [refused, await better, *await asyncio.gather(*waiting)]
            return {job.name: job.status for job in done}

    status = asyncio.run(fill())
    assert status.pop("refused") == 503
    assert status.pop("better") == 200
    assert sorted(status.values()) == [200] * 11 + [503]
    nothing_failed(classes.url)
