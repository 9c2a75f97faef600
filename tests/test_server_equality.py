"""The plug-in changes when a request runs, never what it says; and without our flag, nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from cpu_engine.make_model import CONTEXT
from cpu_engine.server import EngineServer
from sagesched.lengths import LengthGrid
from sagesched.plugin.wire import PRIVATE_KEY

from .test_server_order import kinds, learn, one_slot, serve_behind_blockers, waiting_jobs
from .traffic import Job, post, serving_order, short_prompt

pytestmark = pytest.mark.server

PROMPTS = 50
METRICS = "--enable-metrics"  # tells the order of service


class Observed(NamedTuple):
    """Greedy outputs of a fresh server, and the order in which waiting requests were served."""

    outputs: list[list[int]]
    order: list[str]


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


def observe(server: EngineServer) -> Observed:
    """What a server that has just started does."""
    outputs = asyncio.run(greedy_completions(server.url))
    learn(server.url)
    return Observed(outputs, serving_order(serve_behind_blockers(server.url, waiting_jobs())))


def observe_fcfs(env: Mapping[str, str | None]) -> Observed:
    with one_slot("fcfs", METRICS, env=env) as server:
        return observe(server)


@pytest.fixture(scope="module")
def stock() -> Observed:
    return observe_fcfs({"SGLANG_PLUGINS": "none-of-them"})


@pytest.fixture(scope="module")
def idle() -> Observed:
    """The plug-in is installed, and the policy is another one."""
    return observe_fcfs({})


@pytest.fixture(scope="module")
def gittins() -> Iterator[tuple[EngineServer, Observed]]:
    with one_slot("gittins", METRICS) as server:
        yield server, observe(server)


def test_fcfs_with_the_plugin_installed_keeps_arrival_order(
    stock: Observed, idle: Observed
) -> None:
    assert idle.order == [job.name for job in waiting_jobs()]
    assert idle.order == stock.order


def test_the_short_kind_is_served_first(gittins: tuple[EngineServer, Observed]) -> None:
    assert kinds(gittins[1].order) == "SSSSSLLLLL"


def test_the_true_length_is_out_of_reach(gittins: tuple[EngineServer, Observed]) -> None:
    """It lies in the request; the order must follow the prompts alone."""
    url = gittins[0].url
    forged = {"custom_params": {PRIVATE_KEY: [1.0] + [0.0] * (len(LengthGrid(CONTEXT)) - 1)}}
    cheating = waiting_jobs()
    for job in cheating:
        if job.name.startswith("L"):
            job.extra = forged  # a valid prediction of one token
    assert kinds(serving_order(serve_behind_blockers(url, cheating))) == "SSSSSLLLLL"
    # What these teach is wrong, so nobody's order may depend on it.
    inverted = serve_behind_blockers(url, waiting_jobs(lengths=(60, 5)))
    assert kinds(serving_order(inverted)) == "SSSSSLLLLL"
    same = [Job(f"{i}", short_prompt(7), tokens) for i, tokens in enumerate((90, 60, 30, 2))]
    assert serving_order(serve_behind_blockers(url, same)) == ["0", "1", "2", "3"]


def test_outputs_are_identical_with_and_without_the_plugin(
    stock: Observed, idle: Observed, gittins: tuple[EngineServer, Observed]
) -> None:
    assert len({tuple(ids) for ids in stock.outputs}) > PROMPTS // 2, "outputs tell nothing"
    assert idle.outputs == stock.outputs
    assert gittins[1].outputs == stock.outputs
