"""A small asynchronous client for the real-server tests."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from cpu_engine.eos_at import EosAt, eos_at_params
from cpu_engine.make_model import EOS_ID

SHORT_TOPICS = ["Peru", "Chile", "Kenya", "Norway", "Japan", "Ghana", "Cuba", "Nepal", "Malta"]
PATIENT_S = 120.0
"""How long to wait for what comes at once on a machine that is not busy."""
LONG_TOPICS = ["a storm", "the sea", "a clock", "two owls", "winter", "a train", "rain", "maps"]


def short_prompt(i: int) -> str:
    """A prompt of the kind that is answered shortly; no two are equal."""
    return f"What is the capital of {SHORT_TOPICS[i % len(SHORT_TOPICS)]}? One word, please. ({i})"


def long_prompt(i: int) -> str:
    """A prompt of the kind that is answered at length; no two are equal."""
    topic = LONG_TOPICS[i % len(LONG_TOPICS)]
    return f"Write a long, detailed essay about {topic}, with several chapters. Version {i}."


@dataclass
class Job:
    """One request, and what came back."""

    name: str
    prompt: str
    tokens: int
    extra: dict[str, Any] | None = None
    sent: float = 0.0
    done: float = 0.0
    begun: float = 0.0
    """When the engine took it up, by the clock of its scheduler; with ``--enable-metrics``."""
    completion_tokens: int = -1
    dp_rank: int | None = None
    status: int = 0

    def body(self) -> dict[str, Any]:
        return {
            "text": self.prompt,
            "custom_logit_processor": EosAt.to_str(),
            "sampling_params": {
                "max_new_tokens": 4000,
                "temperature": 0.0,
                "custom_params": {
                    **eos_at_params(self.tokens, eos=EOS_ID),
                    **((self.extra or {}).get("custom_params") or {}),
                },
            },
            **{k: v for k, v in (self.extra or {}).items() if k != "custom_params"},
        }


def session(*traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    """A client without limits that ignores proxies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=300),
        trust_env=False,
        trace_configs=list(traces),
    )


async def run_job(client: aiohttp.ClientSession, url: str, job: Job) -> Job:
    """Send one request and wait for its answer."""
    job.sent = time.monotonic()
    async with client.post(url + "/generate", json=job.body()) as response:
        job.status = response.status
        answer = json.loads(await response.text())
    job.done = time.monotonic()
    if job.status == 200:
        job.completion_tokens = answer["meta_info"]["completion_tokens"]
        job.dp_rank = answer["meta_info"].get("dp_rank")
        job.begun = answer["meta_info"].get("forward_entry_time", 0.0)
    return job


async def run_spaced(url: str, jobs: Sequence[Job], gap_s: float = 0.04) -> list[Job]:
    """Send all jobs in this order, a moment apart, and wait for all of them."""
    async with session() as client:
        tasks = []
        for job in jobs:
            tasks.append(asyncio.create_task(run_job(client, url, job)))
            await asyncio.sleep(gap_s)
        return list(await asyncio.gather(*tasks))


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait, patiently, until it holds."""
    give_up = time.monotonic() + PATIENT_S
    while not await condition():
        assert time.monotonic() < give_up, f"never {what}"
        await asyncio.sleep(0.02)


async def until_load(url: str, *, running: int, waiting: int) -> None:
    """Wait until so many requests are in the server's batches and queues."""

    async def reached() -> bool:
        async with session() as client, client.get(url + "/v1/loads?include=core") as response:
            loads = json.loads(await response.text())["loads"]
        found = [sum(each[f"num_{what}_reqs"] for each in loads) for what in ("running", "waiting")]
        return found == [running, waiting]

    await until(reached, f"{running} running and {waiting} waiting")


async def run_behind(url: str, blockers: Sequence[Job], jobs: Sequence[Job]) -> list[Job]:
    """Send blockers, then the jobs, each when the one before it is in the server's queue.

    The blockers fill the server; once all jobs wait, they are aborted.
    """
    rids = [f"blocker-{secrets.token_hex(8)}" for _ in blockers]
    for job, rid in zip(blockers, rids, strict=True):
        job.extra = {**(job.extra or {}), "rid": rid}
    async with session() as client:

        def send(job: Job) -> asyncio.Task[Job]:
            return asyncio.create_task(run_job(client, url, job))

        running = [send(job) for job in blockers]
        await until_load(url, running=len(running), waiting=0)
        tasks: list[asyncio.Task[Job]] = []
        for job in jobs:
            tasks.append(send(job))
            await until_load(url, running=len(running), waiting=len(tasks))
        assert not any(task.done() for task in running + tasks), "a blocker was too short"
        for task, rid in zip(running, rids, strict=True):
            await abort(url, rid, task)
        return list(await asyncio.gather(*tasks))


async def abort(url: str, rid: str, task: asyncio.Task[Job]) -> None:
    """Abort a request and wait for its end.

    Of several tokenizer workers only one knows it, and each connection is another one's.
    """
    give_up = time.monotonic() + PATIENT_S
    while not task.done():
        assert time.monotonic() < give_up, "never aborted"
        await post(url + "/abort_request", {"rid": rid})
        await asyncio.wait({task}, timeout=0.2)


async def check_early_aborts(url: str) -> None:
    """Abort 40 requests, each at most a few milliseconds after it was sent."""
    jobs = [Job(f"e{i}", f"Go on, {i}.", 1500, {"rid": f"early-{i}"}) for i in range(40)]
    sent = asyncio.Semaphore(0)

    async def note(*_: object) -> None:
        sent.release()

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(note)
    async with session(trace) as client:
        tasks = []
        for i, job in enumerate(jobs):
            tasks.append(asyncio.create_task(run_job(client, url, job)))
            await sent.acquire()
            await asyncio.sleep(0.001 * (i % 8))
            # Over a new connection as the request was: one that is open would overtake it.
            await post(url + "/abort_request", {"rid": f"early-{i}"})
        done = await asyncio.gather(*tasks)
    aborted = [job for job in done if job.completion_tokens < 1500]
    # The client's two messages may overtake each other, under any policy; hardly ever do.
    assert len(aborted) >= 36, [job.completion_tokens for job in done]


def completion_order(jobs: Sequence[Job]) -> list[str]:
    """Names in the order in which the answers were complete, as the client saw it: a busy one may
    see two that were complete within milliseconds the other way round."""
    return [job.name for job in sorted(jobs, key=lambda job: job.done)]


def serving_order(jobs: Sequence[Job]) -> list[str]:
    """Names in the order in which the engine took them up."""
    assert all(job.begun > 0.0 for job in jobs), "the server needs --enable-metrics"
    return [job.name for job in sorted(jobs, key=lambda job: job.begun)]


async def post(url: str, body: Any) -> tuple[int, Any]:
    """Status and parsed answer of one POST; text where the answer is not JSON."""
    async with session() as client, client.post(url, json=body) as response:
        text = await response.text()
        try:
            return response.status, json.loads(text)
        except json.JSONDecodeError:
            return response.status, text


async def our_metrics(url: str) -> dict[str, float]:
    """All ``sagesched_`` samples on ``/metrics``, labels in the name; equal names are summed."""
    async with session() as client, client.get(url + "/metrics") as response:
        text = await response.text()
    found: dict[str, float] = {}
    for name, labels, value in re.findall(r"^(sagesched_\w+)(\{[^}]*\})? (\S+)$", text, re.M):
        key = name + re.sub(r',?pid="\d+"', "", labels)
        found[key] = found.get(key, 0.0) + float(value)
    return found
