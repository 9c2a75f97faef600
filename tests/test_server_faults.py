"""Whatever clients do, the server keeps serving and no slot of the rank engine leaks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cpu_engine.server import EngineServer
from sagesched.plugin.metrics import EXPORT_DELAY_S
from sagesched.plugin.versions import sglang_version
from sagesched.plugin.wire import PRIVATE_KEY

from .serving import start_server
from .traffic import (
    PATIENT_S,
    Job,
    check_early_aborts,
    our_metrics,
    post,
    run_job,
    run_spaced,
    session,
    short_prompt,
    until,
    until_load,
)

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server() -> Iterator[EngineServer]:
    args = ["--schedule-policy", "gittins", "--max-running-requests", "8", "--enable-metrics"]
    env = {"SAGESCHED_DEADLINE_MS": "5000"}  # a busy machine must not matter
    with start_server(*args, env=env) as running:
        yield running


async def settled(url: str, **wanted: float) -> dict[str, float]:
    """Our metrics, once they show what is wanted (or after a long time, whatever they show)."""
    give_up = time.monotonic() + PATIENT_S
    while True:
        found = await our_metrics(url)
        as_wanted = all(found.get(name) == value for name, value in wanted.items())
        if as_wanted or time.monotonic() > give_up:
            return found
        await asyncio.sleep(0.05)


async def check_serving(url: str) -> None:
    """The server answers, the rank engine is empty, nothing of ours failed."""
    async with session() as client:
        job = await run_job(client, url, Job("alive", "Are you there?", 3))
    assert (job.status, job.completion_tokens) == (200, 3)
    found = await settled(url, sagesched_rank_engine_slots=0.0)
    assert found["sagesched_rank_engine_slots"] == 0.0
    assert {k: v for k, v in found.items() if k.startswith("sagesched_fallbacks") and v} == {}


async def count(url: str, name: str) -> float:
    return (await our_metrics(url)).get(name, 0.0)


async def censored(url: str) -> float:
    """Outcomes of requests that did not end by themselves."""
    return await count(url, 'sagesched_outcomes_total{kind="censored"}')


def test_two_hundred_requests_at_once(server: EngineServer) -> None:
    jobs = [Job(str(i), short_prompt(i), 1 + i % 37) for i in range(200)]
    done = asyncio.run(run_spaced(server.url, jobs, gap_s=0.0))
    assert [job.completion_tokens for job in done] == [job.tokens for job in jobs]
    asyncio.run(check_serving(server.url))
    found = asyncio.run(our_metrics(server.url))
    assert found['sagesched_ranked_requests_total{source="predicted"}'] >= 180


def test_client_killed_in_the_middle_of_a_stream(server: EngineServer) -> None:
    async def kill_midway() -> None:
        before = await censored(server.url)

        async def came_back() -> bool:
            return await censored(server.url) > before

        async with session() as client:
            body = {**Job("", "Tell me everything.", 3900).body(), "stream": True}
            async with client.post(server.url + "/generate", json=body) as response:
                await response.content.readline()
        await until(came_back, "back in the history")

    asyncio.run(kill_midway())
    asyncio.run(check_serving(server.url))


def test_an_abort_right_after_the_request_is_not_lost(server: EngineServer) -> None:
    asyncio.run(check_early_aborts(server.url))
    asyncio.run(check_serving(server.url))


def test_abort_while_queued_and_while_running(server: EngineServer) -> None:
    async def abort_all_of_them() -> list[Job]:
        before = await censored(server.url)
        jobs = [Job(f"a{i}", "Go on.", 3900, {"rid": f"abort-{i}"}) for i in range(20)]
        async with session() as client:
            tasks = [asyncio.create_task(run_job(client, server.url, job)) for job in jobs]
            await until_load(server.url, running=8, waiting=12)
            found = await settled(server.url, sagesched_rank_engine_slots=12.0)
            assert found["sagesched_rank_engine_slots"] == 12
            for job in reversed(jobs):
                rid = {"rid": job.extra["rid"]} if job.extra else {}
                await post(server.url + "/abort_request", rid)
            done = await asyncio.gather(*tasks)

        # Eight ran and had produced something; an abort before the first token tells nothing.
        async def eight_are_back() -> bool:
            return await censored(server.url) >= before + 8

        await until(eight_are_back, "back in the history")
        await asyncio.sleep(4 * EXPORT_DELAY_S)
        assert await censored(server.url) <= before + 20
        return list(done)

    done = asyncio.run(abort_all_of_them())
    assert all(job.completion_tokens < 3900 for job in done)
    asyncio.run(check_serving(server.url))


def sampling(**params: Any) -> dict[str, Any]:
    return {"text": "a", "sampling_params": params}


OLD = sglang_version() == "0.5.20"
BAD_REQUESTS: list[tuple[str, int, Any]] = [
    ("empty prompt", 400, {"text": ""}),
    ("empty prompt in a batch", 400, {"text": ["a", ""]}),
    ("empty ids", 400, {"input_ids": []}),
    ("longer than the context", 400, {"input_ids": [5] * 9000}),
    ("longer than the context, as text", 400, {"text": "word " * 9000}),
    ("negative length", 400, sampling(max_new_tokens=-5)),
    ("zero length", 200, sampling(max_new_tokens=0)),
    ("absurd length", 400, sampling(max_new_tokens=10**30)),
    ("length of a wrong type", 500 if OLD else 400, sampling(max_new_tokens="many")),
    ("parameters of a wrong type", 200, sampling(custom_params=7, max_new_tokens=2)),
    ("lone surrogate", 400, {"text": "a\ud800b", "sampling_params": {"max_new_tokens": 2}}),
    ("control characters", 200, {"text": "\0\x01\x1b", "sampling_params": {"max_new_tokens": 2}}),
    ("no prompt", 400, {"sampling_params": {"max_new_tokens": 2}}),
]


@pytest.mark.parametrize(
    ("status", "body"), [row[1:] for row in BAD_REQUESTS], ids=[row[0] for row in BAD_REQUESTS]
)
def test_bad_request_gets_a_clear_status(
    server: EngineServer, status: int, body: dict[str, Any]
) -> None:
    async def send() -> int:
        payload = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        async with (
            session() as client,
            client.post(server.url + "/generate", data=payload, headers=headers) as response,
        ):
            await response.read()
            return response.status

    assert asyncio.run(send()) == status
    asyncio.run(check_serving(server.url))


def test_malformed_json(server: EngineServer) -> None:
    async def send() -> int:
        headers = {"Content-Type": "application/json"}
        async with (
            session() as client,
            client.post(server.url + "/generate", data=b'{"text": ', headers=headers) as response,
        ):
            return response.status

    assert 400 <= asyncio.run(send()) < 500
    asyncio.run(check_serving(server.url))


@pytest.mark.parametrize(
    "forged", [[0.0] * 5, "x", -1, 1e308, {"a": 1}, [None], [1.0] * 100_000], ids=range(7)
)
def test_a_forged_prediction_is_overwritten(server: EngineServer, forged: Any) -> None:
    extra = {"custom_params": {PRIVATE_KEY: forged}}
    (job,) = asyncio.run(run_spaced(server.url, [Job("f", "Hello there.", 4, extra)]))
    assert (job.status, job.completion_tokens) == (200, 4)
    asyncio.run(check_serving(server.url))


def test_every_route_is_predicted_and_learned(server: EngineServer) -> None:
    """Single, batch, n > 1, completions, chat, streaming; the extra prefill of n > 1 is not."""

    async def learned() -> float:
        await asyncio.sleep(2.5 * EXPORT_DELAY_S)  # counters follow the history with this delay
        found = await our_metrics(server.url)
        name = 'sagesched_outcomes_total{kind="'
        return sum(found.get(f'{name}{kind}"}}', 0.0) for kind in ("finished", "censored"))

    before = 0.0

    async def send(path: str, body: dict[str, Any], requests: int) -> None:
        nonlocal before
        async with session() as client, client.post(server.url + path, json=body) as response:
            assert response.status == 200, await response.text()
            await response.read()
        give_up = time.monotonic() + PATIENT_S
        while (found := await learned()) < before + requests and time.monotonic() < give_up:
            pass
        assert found - before == requests, path
        before = found

    async def all_routes() -> None:
        nonlocal before
        before = await learned()
        few = {"max_new_tokens": 3}
        say = [{"role": "user", "content": "Say something short."}]
        model = {"model": "any", "max_tokens": 3}
        await send("/generate", {"text": "one", "sampling_params": few}, 1)
        await send("/generate", {"text": ["one", "two", "three"], "sampling_params": few}, 3)
        await send("/generate", {"input_ids": [[5, 6], [7, 8]], "sampling_params": few}, 2)
        await send("/generate", {"text": "x", "sampling_params": {**few, "n": 3}}, 3)
        await send("/v1/completions", {**model, "prompt": "one"}, 1)
        await send("/v1/completions", {**model, "prompt": ["one", "two"], "n": 2}, 4)
        await send("/v1/chat/completions", {**model, "messages": say}, 1)
        await send("/v1/chat/completions", {**model, "messages": say, "stream": True}, 1)
        await send("/v1/chat/completions", {**model, "messages": say, "n": 2}, 2)
        unpredicted = await our_metrics(server.url)
        assert unpredicted.get('sagesched_predictions_total{result="errors"}', 0) == 0

    asyncio.run(all_routes())
    asyncio.run(check_serving(server.url))


HANGS = """
import threading
from sagesched.predict.predictor import LengthPredictor

LengthPredictor.predict_from = lambda *args: threading.Event().wait()
"""


def test_nobody_waits_for_a_predictor_that_hangs(tmp_path: Path) -> None:
    """The requests end long before the deadline, without it, in order of arrival."""
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    env = {"PYTHONPATH": str(tmp_path), "SAGESCHED_DEADLINE_MS": "60000"}
    args = ("--schedule-policy", "gittins", "--max-running-requests", "1", "--enable-metrics")
    with start_server(*args, env=env) as server:
        jobs = [Job("first", "Say it.", 60), *(Job(f"{i}", "Say it.", 9 - i) for i in range(5))]
        done = asyncio.run(run_spaced(server.url, jobs))
        assert [(job.status, job.completion_tokens) for job in done] == [
            (200, job.tokens) for job in jobs
        ]
        ends = [job.done for job in done]
        assert ends == sorted(ends)
        found = asyncio.run(settled(server.url, sagesched_rank_engine_slots=0.0))
        assert found['sagesched_admissions_total{turn="ahead"}'] == 0
        results = ("predictions", "deadline_misses")
        names = [f'sagesched_predictions_total{{result="{name}"}}' for name in results]
        assert [found.get(name, 0.0) for name in names] == [0.0, 0.0]
        assert found['sagesched_ranked_requests_total{source="predicted"}'] == 0


def test_prompts_do_not_reach_the_log(server: EngineServer) -> None:
    secret = "the xylophone password is quartz"
    asyncio.run(run_spaced(server.url, [Job("p", secret, 3)]))
    assert secret not in server.log_path.read_text(errors="replace")


def test_the_client_is_not_needed_for_the_server_to_live(server: EngineServer) -> None:
    async def hang_up() -> None:
        for _ in range(10):
            async with session() as client:
                task = asyncio.create_task(run_job(client, server.url, Job("h", "Hello.", 3900)))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
                    await task

    asyncio.run(hang_up())
    asyncio.run(check_serving(server.url))
