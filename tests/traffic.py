"""A small asynchronous client for the real-server tests."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from cpu_engine.eos_at import EosAt, eos_at_params
from cpu_engine.make_model import EOS_ID

SHORT_TOPICS = ["Peru", "Chile", "Kenya", "Norway", "Japan", "Ghana", "Cuba", "Nepal", "Malta"]
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


def session() -> aiohttp.ClientSession:
    """A client without limits that ignores proxies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=300),
        trust_env=False,
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
    return job


async def run_spaced(url: str, jobs: Sequence[Job], gap_s: float = 0.04) -> list[Job]:
    """Send all jobs in this order, a moment apart, and wait for all of them."""
    async with session() as client:
        tasks = []
        for job in jobs:
            tasks.append(asyncio.create_task(run_job(client, url, job)))
            await asyncio.sleep(gap_s)
        return list(await asyncio.gather(*tasks))


def completion_order(jobs: Sequence[Job]) -> list[str]:
    """Names in the order in which the answers were complete."""
    return [job.name for job in sorted(jobs, key=lambda job: job.done)]


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
