"""The main job on a real server: who is served first when requests wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from cpu_engine.server import EngineServer

from .serving import start_server
from .traffic import Job, completion_order, long_prompt, run_behind, run_spaced, short_prompt

pytestmark = pytest.mark.server

WARM_UP = 12
BLOCKER_TOKENS = 3900
MIXED = "LSLLSLSSLS"  # ten waiting requests: long and short kind


def known_jobs() -> list[Job]:
    """Both kinds of prompts, for the history."""
    jobs = [Job(f"s{i}", short_prompt(i), 3 + i % 4) for i in range(WARM_UP)]
    return jobs + [Job(f"l{i}", long_prompt(i), 60 + 5 * i) for i in range(WARM_UP)]


def learn(url: str) -> None:
    """Let the history see both kinds of prompts."""
    done = asyncio.run(run_spaced(url, known_jobs(), gap_s=0.0))
    assert all(job.status == 200 for job in done)


def waiting_jobs(kinds: str = MIXED, *, lengths: tuple[int, int] = (5, 60)) -> list[Job]:
    """Requests of phrasings that the history has not seen; names tell kind and arrival."""
    jobs = []
    for i, kind in enumerate(kinds):
        prompt = short_prompt(100 + i) if kind == "S" else long_prompt(100 + i)
        jobs.append(Job(f"{kind}{i}", prompt, lengths[kind == "L"]))
    return jobs


def serve_behind_blockers(url: str, jobs: Sequence[Job], blockers: int = 1) -> list[Job]:
    """Send blockers, and the jobs once those run, one after the other; all of them have to wait."""
    first = [Job(f"blocker{i}", "Count on and on.", BLOCKER_TOKENS) for i in range(blockers)]
    done = asyncio.run(run_behind(url, first, jobs))
    assert [job.completion_tokens for job in done] == [job.tokens for job in done]
    return done


def kinds(names: Sequence[str]) -> str:
    """The kinds of waiting jobs, by their names."""
    return "".join(name[0] for name in names)


def one_slot(policy: str, *more: str, env: Mapping[str, str | None] | None = None) -> EngineServer:
    """A server that runs one request at a time, with time to predict on a busy machine."""
    args = ["--schedule-policy", policy, "--max-running-requests", "1", *more]
    # Overtaking is bounded otherwise, and on a busy machine jobs come far apart.
    dial = {"SAGESCHED_DIAL": "inf"} if policy == "gittins" else {}
    return start_server(*args, env={"SAGESCHED_DEADLINE_MS": "5000", **dial, **(env or {})})


def test_without_overlap_the_short_kind_is_served_first() -> None:
    """With overlap, which is the default: in test_server_equality.py."""
    with one_slot("gittins", "--disable-overlap-schedule") as server:
        learn(server.url)
        done = serve_behind_blockers(server.url, waiting_jobs())
        assert kinds(completion_order(done)) == "SSSSSLLLLL"


def test_tensor_parallel_ranks_agree() -> None:
    """Two real ranks order the same queue each by itself; if they differed they would hang."""
    with one_slot("gittins", "--tp-size", "2") as server:
        learn(server.url)
        done = serve_behind_blockers(server.url, waiting_jobs())
        assert kinds(completion_order(done)) == "SSSSSLLLLL"


def test_each_replica_of_a_data_parallel_server_orders_its_own_queue() -> None:
    with one_slot("gittins", "--dp-size", "2") as server:
        learn(server.url)
        # SGLang deals requests to replicas in turn, so each kind comes in pairs.
        done = serve_behind_blockers(server.url, waiting_jobs("LLSSLLSSSSLLLLSSLLSS"), blockers=2)
        assert {job.dp_rank for job in done} == {0, 1}
        for rank in (0, 1):
            order = kinds(completion_order([job for job in done if job.dp_rank == rank]))
            assert set(order) == {"S", "L"}
            assert "LS" not in order, f"replica {rank}: {order}"
