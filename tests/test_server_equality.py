"""The plug-in changes when a request runs, never what it says; and without our flag, nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .serving import start_server
from .test_server_order import serve_behind_blockers, waiting_jobs
from .traffic import completion_order, post

pytestmark = pytest.mark.server

PROMPTS = 50


async def greedy_completions(url: str) -> list[list[int]]:
    """Output ids of each prompt, sent one by one so that batches are the same everywhere."""
    found = []
    for i in range(PROMPTS):
        body: dict[str, Any] = {
            "text": f"Prompt number {i}: tell me about the colour of {'very ' * (i % 7)}old maps.",
            "sampling_params": {"max_new_tokens": 24, "temperature": 0.0},
        }
        status, answer = await post(url + "/generate", body)
        assert status == 200
        found.append(answer["output_ids"])
    return found


def observe(policy: str, env: dict[str, str | None]) -> tuple[list[list[int]], list[str]]:
    """Greedy outputs, and the order in which waiting requests were served."""
    args = ["--schedule-policy", policy, "--max-running-requests", "1"]
    with start_server(*args, env=env) as server:
        outputs = asyncio.run(greedy_completions(server.url))
        order = completion_order(serve_behind_blockers(server.url, waiting_jobs()))
    return outputs, order


def test_outputs_are_identical_with_and_without_the_plugin() -> None:
    stock_outputs, stock_order = observe("fcfs", {"SGLANG_PLUGINS": "none-of-them"})
    idle_outputs, idle_order = observe("fcfs", {})
    ours, _ = observe("gittins", {})
    assert len({tuple(ids) for ids in stock_outputs}) > PROMPTS // 2, "outputs tell nothing"
    assert idle_outputs == stock_outputs
    assert idle_order == stock_order
    assert ours == stock_outputs
