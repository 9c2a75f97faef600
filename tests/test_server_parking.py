"""Running requests that give way on a real server, with mixed prefill.

Mixed prefill is slow on the CPU engine, so what is looked at are counters, lengths and outputs, not
times.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sagesched.plugin.versions import sglang_version

from .serving import start_server
from .traffic import Job, long_prompt, our_metrics, post, run_spaced, short_prompt, until_load

pytestmark = pytest.mark.server

LONG, SHORT = 500, 4
RUNNING, COMING = 2, 6


def jobs_to_learn() -> list[Job]:
    short = [Job(f"s{i}", short_prompt(i), 3 + i % 3) for i in range(12)]
    return short + [Job(f"l{i}", long_prompt(i), 150 + 10 * i) for i in range(12)]


async def answer(url: str, prompt: str, tokens: int) -> Any:
    status, found = await post(url + "/generate", Job("", prompt, tokens).body())
    assert status == 200
    return found


async def among_others(url: str) -> tuple[list[Any], list[Any], list[str]]:
    """Long requests that run when short ones come; answers, and the order in which they came."""
    ended: list[str] = []

    async def one(kind: str, prompt: str, tokens: int) -> Any:
        found = await answer(url, prompt, tokens)
        ended.append(kind)
        return found

    long = [asyncio.create_task(one("L", long_prompt(50 + i), LONG)) for i in range(RUNNING)]
    await until_load(url, running=RUNNING, waiting=0)
    short = [asyncio.create_task(one("S", short_prompt(50 + i), SHORT)) for i in range(COMING)]
    return await asyncio.gather(*long), await asyncio.gather(*short), ended


async def check(url: str) -> None:
    done = await run_spaced(url, jobs_to_learn(), gap_s=0.0)
    assert all(job.status == 200 for job in done)
    alone = [(await answer(url, long_prompt(50 + i), LONG))["text"] for i in range(RUNNING)]
    before = (await our_metrics(url))["sagesched_parked_requests_total"]
    status, _ = await post(url + "/flush_cache", {})
    assert status == 200

    long, short, ended = await among_others(url)
    found = await our_metrics(url)
    assert found["sagesched_parked_requests_total"] > before
    assert "".join(ended).startswith("S" * COMING)
    assert [one["meta_info"]["completion_tokens"] for one in long] == [LONG] * RUNNING
    assert [one["meta_info"]["completion_tokens"] for one in short] == [SHORT] * COMING
    assert [one["text"] for one in long] == alone, "parking changed an output"
    assert found["sagesched_rank_engine_slots"] == 0
    assert not [name for name in found if "fallbacks" in name and found[name]]


@pytest.mark.skipif(
    sglang_version() == "0.5.20", reason="keeps the KV of finished requests only: nobody gives way"
)
def test_long_requests_give_way_and_end_as_if_they_had_not() -> None:
    with start_server(
        *("--schedule-policy", "gittins", "--max-running-requests", str(RUNNING)),
        *("--enable-mixed-chunk", "--enable-metrics"),
        env={"SAGESCHED_DEADLINE_MS": "5000", "SAGESCHED_DIAL": "4"},
    ) as server:
        asyncio.run(check(server.url))
