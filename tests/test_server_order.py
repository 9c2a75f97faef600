"""The main job on a real server: who is served first when requests wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cpu_engine.make_model import CONTEXT
from cpu_engine.server import EngineServer
from sagesched.lengths import LengthGrid
from sagesched.plugin.wire import PRIVATE_KEY

from .serving import start_server
from .traffic import Job, completion_order, long_prompt, run_spaced, short_prompt

pytestmark = pytest.mark.server

WARM_UP = 12
BLOCKER_TOKENS = 2500
MIXED = "LSLLSLSSLS"  # ten waiting requests: long and short kind


def learn(url: str, replicas: int = 1) -> None:
    """Let the history see both kinds of prompts."""
    jobs = [Job(f"s{i}", short_prompt(i), 3 + i % 4) for i in range(WARM_UP)]
    jobs += [Job(f"l{i}", long_prompt(i), 150 + 10 * i) for i in range(WARM_UP)]
    done = asyncio.run(run_spaced(url, jobs, gap_s=0.0))
    assert all(job.status == 200 for job in done)


def waiting_jobs(kinds: str = MIXED, *, lengths: tuple[int, int] = (5, 120)) -> list[Job]:
    """Requests of phrasings that the history has not seen; names tell kind and arrival."""
    jobs = []
    for i, kind in enumerate(kinds):
        prompt = short_prompt(100 + i) if kind == "S" else long_prompt(100 + i)
        jobs.append(Job(f"{kind}{i}", prompt, lengths[kind == "L"]))
    return jobs


def serve_behind_blockers(url: str, jobs: Sequence[Job], blockers: int = 1) -> list[Job]:
    """Send blockers, then the jobs one after the other; check that they really had to wait."""
    first = [Job(f"blocker{i}", "Count on and on.", BLOCKER_TOKENS) for i in range(blockers)]
    done = asyncio.run(run_spaced(url, [*first, *jobs]))
    last_sent = max(job.sent for job in done)
    assert all(job.done > last_sent for job in done[:blockers]), "a blocker was too short"
    assert [job.completion_tokens for job in done] == [job.tokens for job in done]
    return done[blockers:]


def one_slot(policy: str, *more: str) -> EngineServer:
    """A server that runs one request at a time, with time to predict on a busy machine."""
    args = ["--schedule-policy", policy, "--max-running-requests", "1", *more]
    return start_server(*args, env={"SAGESCHED_DEADLINE_MS": "5000"})


@pytest.mark.parametrize("overlap", [True, False], ids=["overlap", "no-overlap"])
def test_gittins_serves_the_short_kind_first(overlap: bool) -> None:
    more = [] if overlap else ["--disable-overlap-schedule"]
    with one_slot("gittins", *more) as server:
        learn(server.url)
        done = serve_behind_blockers(server.url, waiting_jobs())
        kinds = "".join(name[0] for name in completion_order(done))
        assert kinds == "SSSSSLLLLL"
        if overlap:
            check_true_length_is_out_of_reach(server.url)


def check_true_length_is_out_of_reach(url: str) -> None:
    """The true length lies in the request; the order must follow the prompts alone."""
    inverted = serve_behind_blockers(url, waiting_jobs(lengths=(120, 5)))
    assert "".join(name[0] for name in completion_order(inverted)) == "SSSSSLLLLL"
    forged = {"custom_params": {PRIVATE_KEY: [1.0] + [0.0] * (len(LengthGrid(CONTEXT)) - 1)}}
    cheating = waiting_jobs()
    for job in cheating:
        if job.name.startswith("L"):
            job.extra = forged  # a valid prediction of one token
    done = serve_behind_blockers(url, cheating)
    assert "".join(name[0] for name in completion_order(done)) == "SSSSSLLLLL"
    same = [Job(f"{i}", short_prompt(7), tokens) for i, tokens in enumerate((90, 60, 30, 2))]
    assert completion_order(serve_behind_blockers(url, same)) == ["0", "1", "2", "3"]


def test_tensor_parallel_ranks_agree() -> None:
    """Two real ranks order the same queue each by itself; if they differed they would hang."""
    with one_slot("gittins", "--tp-size", "2") as server:
        learn(server.url)
        done = serve_behind_blockers(server.url, waiting_jobs())
        assert "".join(name[0] for name in completion_order(done)) == "SSSSSLLLLL"


def test_fcfs_with_the_plugin_installed_keeps_arrival_order() -> None:
    with one_slot("fcfs") as server:
        learn(server.url)
        jobs = waiting_jobs()
        done = serve_behind_blockers(server.url, jobs)
        assert completion_order(done) == [job.name for job in jobs]


def test_each_replica_of_a_data_parallel_server_orders_its_own_queue() -> None:
    with one_slot("gittins", "--dp-size", "2") as server:
        learn(server.url)
        # SGLang deals requests to replicas in turn, so each kind comes in pairs.
        done = serve_behind_blockers(server.url, waiting_jobs("LLSSLLSSSSLLLLSSLLSS"), blockers=2)
        assert {job.dp_rank for job in done} == {0, 1}
        for rank in (0, 1):
            kinds = [name[0] for name in completion_order([j for j in done if j.dp_rank == rank])]
            assert kinds == sorted(kinds, reverse=True), f"replica {rank}: {kinds}"
            assert set(kinds) == {"S", "L"}
