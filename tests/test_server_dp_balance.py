"""``--load-balance-method sal`` on a real server of two replicas, one of which stops or dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import aiohttp
import psutil
import pytest

from cpu_engine.server import EngineServer
from sagesched.plugin.versions import sglang_version

from .serving import start_server
from .test_server_operating import fallbacks
from .traffic import (
    Job,
    check_early_aborts,
    our_metrics,
    post,
    run_job,
    run_spaced,
    session,
    until,
    until_load,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        sglang_version() == "0.5.20", reason="loads no plug-ins in its data-parallel controller"
    ),
]


ARGS = ("--dp-size", "2", "--enable-metrics", "--max-running-requests", "4")
ROUND = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[EngineServer]:
    policy = ("--schedule-policy", "gittins")
    with start_server(*ARGS, *policy, "--load-balance-method", "sal") as started:
        yield started


def jobs(count: int, tokens: int, prompt: str = "Say it.", **extra: Any) -> list[Job]:
    turn = next(ROUND)
    return [Job(f"{i}", f"{turn} {i} {prompt}", tokens, dict(extra)) for i in range(count)]


def scheduler_of(server: EngineServer, replica: int) -> psutil.Process:
    """The process of a replica, by the title SGLang gives it."""
    assert server.pid is not None
    title = f"sglang::scheduler_DP{replica}"
    children = psutil.Process(server.pid).children(recursive=True)
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    (found,) = [child for child in alive if title in " ".join(child.cmdline())]
    return found


def stop(process: psutil.Process) -> None:
    """Stop it, but not while it writes its load report.

    SGLang writes it, all the time while it idles, under a file lock that every other replica and
    every reader waits for: one that is stopped just there stops them all, under any policy.
    """
    (report,) = {file.path for file in process.open_files() if "sglang_loads" in file.path}
    while True:
        process.send_signal(signal.SIGSTOP)
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        with open(report, "rb") as file:
            for _ in range(20):  # the other replica writes, too
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return
                time.sleep(0.002)
        process.send_signal(signal.SIGCONT)


async def until_healthy(url: str, replica: int, value: float) -> None:
    async def reached() -> bool:
        name = f'sagesched_balance_healthy{{replica="{replica}"}}'
        return (await our_metrics(url))[name] == value

    await until(reached, f"replica {replica} was healthy = {value}")


async def behind_long_ones(url: str, by_turns: bool) -> tuple[float, float]:
    """Mean TTLT, seconds: of all, and of those that come while replica 0 has long ones.

    ``by_turns`` gives them to the replicas as round robin would.
    """
    long_ones = jobs(6, 400, "Many words in a row, " * 100, routed_dp_rank=0)
    short_ones = jobs(12, 3)
    for i, job in enumerate(short_ones):
        job.extra = {"routed_dp_rank": i % 2} if by_turns else None
    async with session() as client:
        first = [asyncio.create_task(run_job(client, url, job)) for job in long_ones]
        await until_load(url, running=4, waiting=2)
        done = await run_spaced(url, short_ones, gap_s=0.1)
        everybody = [*done, *await asyncio.gather(*first)]
        assert {job.status for job in everybody} == {200}
    of_all, of_short = (fmean(job.done - job.sent for job in some) for some in (everybody, done))
    return of_all, of_short


def test_sooner_than_by_turns_while_one_replica_has_long_prompts(server: EngineServer) -> None:
    """In turns of one run on one server."""
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for by_turns in (True, False) * 3:
        found[by_turns].append(asyncio.run(behind_long_ones(server.url, by_turns)))
    print(f"mean TTLT, s, of all and of the short: by turns {found[True]}, sal {found[False]}")
    turns, sal = ([fmean(some) for some in zip(*found[by], strict=True)] for by in (True, False))
    assert sal[0] < turns[0]
    assert sal[1] < turns[1]
    assert fallbacks(asyncio.run(our_metrics(server.url))) == {}


def test_predictions_are_read_where_the_policy_makes_them(server: EngineServer) -> None:
    log = server.log_path.read_text()
    assert "sal chooses among 2 replicas" in log
    assert "nothing is predicted" not in log


def test_an_abort_that_comes_while_a_request_waits_for_its_prediction(server: EngineServer) -> None:
    """It waits, as the controller reads the prediction; SGLang alone would know the request."""
    asyncio.run(check_early_aborts(server.url))
    assert fallbacks(asyncio.run(our_metrics(server.url))) == {}


def test_a_stopped_replica_gets_no_more_requests_until_it_goes_on(server: EngineServer) -> None:
    url, process = server.url, scheduler_of(server, 1)

    async def all_of_it() -> None:
        stop(process)
        async with session() as client:
            early = [
                asyncio.create_task(run_job(client, url, job))
                for job in jobs(2, 3, routed_dp_rank=1)
            ]
            await until_healthy(url, 1, 0)
            done = await run_spaced(url, jobs(8, 3))
            assert [(job.status, job.dp_rank) for job in done] == [(200, 0)] * 8
            assert not any(task.done() for task in early)
            process.send_signal(signal.SIGCONT)
            await until_healthy(url, 1, 1)
            assert [job.status for job in await asyncio.gather(*early)] == [200, 200]

    try:
        asyncio.run(all_of_it())
    finally:
        process.send_signal(signal.SIGCONT)
    done = asyncio.run(run_spaced(url, jobs(8, 20)))
    assert {job.dp_rank for job in done} == {0, 1}
    assert "has not reported" in server.log_path.read_text()


def test_a_killed_replica_loses_only_what_it_had_and_says_so(server: EngineServer) -> None:
    """The last of this server."""
    url = server.url

    async def all_of_it() -> None:
        async with session() as client:
            here, there = jobs(3, 200, routed_dp_rank=0), jobs(3, 4000, routed_dp_rank=1)
            tasks = [asyncio.create_task(run_job(client, url, job)) for job in [*here, *there]]
            streamed = asyncio.create_task(stream(url, jobs(1, 4000, routed_dp_rank=1)[0]))
            await until_load(url, running=7, waiting=0)
            os.kill(scheduler_of(server, 1).pid, signal.SIGKILL)
            after = await asyncio.wait_for(run_spaced(url, jobs(8, 3), gap_s=0.005), 120)
            assert [(job.status, job.dp_rank) for job in after] == [(200, 0)] * 8
            await asyncio.wait_for(asyncio.gather(*tasks), 120)
            assert [job.status for job in here] == [200] * 3
            assert [job.status for job in there] == [503] * 3
            assert "The replica that had this request is gone" in await streamed

    asyncio.run(all_of_it())
    (refused,) = asyncio.run(run_spaced(url, jobs(1, 3, routed_dp_rank=1)))
    assert refused.status == 503
    status, _ = asyncio.run(post(url + "/abort_request", {"rid": "nobody"}))  # goes to all replicas
    assert status == 200
    done = asyncio.run(run_spaced(url, jobs(4, 3)))
    assert [(job.status, job.dp_rank) for job in done] == [(200, 0)] * 4
    found = asyncio.run(our_metrics(url))
    assert found["sagesched_balance_failed_total"] >= 4
    assert fallbacks(found) == {}

    os.kill(scheduler_of(server, 0).pid, signal.SIGKILL)
    assert {job.status for job in asyncio.run(run_spaced(url, jobs(4, 3)))} == {503}
    assert server.running
    asyncio.run(until_a_health_check_ends_it(server))


def test_a_killed_replica_with_several_tokenizer_workers() -> None:
    """Each worker is told of the requests that it waits for."""
    args = ("--tokenizer-worker-num", "2", "--load-balance-method", "sal-prompt")
    busy = {"SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT": "120"}
    with start_server(*ARGS, *args, env=busy) as server:
        lost, kept = jobs(6, 4000, routed_dp_rank=1), jobs(6, 400, routed_dp_rank=0)

        async def all_of_it() -> None:
            async with session() as client:
                tasks = [run_job(client, server.url, job) for job in [*lost, *kept]]
                answers = asyncio.gather(*tasks)
                await until_load(server.url, running=8, waiting=4)
                os.kill(scheduler_of(server, 1).pid, signal.SIGKILL)
                await asyncio.wait_for(answers, 120)

        asyncio.run(all_of_it())
        assert [job.status for job in lost] == [503] * 6
        assert [job.status for job in kept] == [200] * 6


async def until_a_health_check_ends_it(server: EngineServer) -> None:
    """A server without replicas is to be started anew."""

    async def ended() -> bool:
        with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
            timeout = aiohttp.ClientTimeout(total=5)
            async with session() as client:
                await client.get(server.url + "/health_generate", timeout=timeout)
        return not server.running

    await until(ended, "ended")


async def stream(url: str, job: Job) -> str:
    """The last piece of a streamed answer."""
    async with (
        session() as client,
        client.post(url + "/generate", json={**job.body(), "stream": True}) as response,
    ):
        pieces = [line async for line in response.content if line.startswith(b"data: {")]
    return json.dumps(json.loads(pieces[-1].removeprefix(b"data: ")))


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--dp-size", "1"), "only one replica"),
        (("--tp-size", "2", "--attn-dp-size", "2"), "DP attention"),
    ],
)
def test_where_it_cannot_be_in_force_the_server_does_not_start(
    args: tuple[str, ...], named: str
) -> None:
    with pytest.raises(Exception, match=named), start_server("--load-balance-method", "sal", *args):
        pass
