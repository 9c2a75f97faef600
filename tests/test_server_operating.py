"""Operating a real server: looking on first, switching at run time, opting out, metrics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cpu_engine.server import EngineServer
from sagesched.cli import main

from .serving import start_server
from .test_server_order import (
    kinds,
    learn,
    one_slot,
    serve_behind_blockers,
    waiting_jobs,
)
from .traffic import (
    Job,
    long_prompt,
    our_metrics,
    post,
    run_spaced,
    serving_order,
    session,
    short_prompt,
)

pytestmark = pytest.mark.server

ARRIVAL = [job.name for job in waiting_jobs()]
OPT_OUT = {"custom_params": {"sagesched": "off"}}
EXPORTED_S = 1.5


def exported(url: str) -> dict[str, float]:
    """Our metrics, when the last step's are there."""

    async def later() -> dict[str, float]:
        await asyncio.sleep(EXPORTED_S)
        return await our_metrics(url)

    return asyncio.run(later())


def served(url: str, jobs: Sequence[Job] | None = None) -> list[str]:
    return serving_order(serve_behind_blockers(url, jobs or waiting_jobs()))


def fallbacks(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if "fallbacks" in name and value}


SWITCHES = ("--dial 0", "--dial inf", "--policy fcfs", "--dial 2", "--policy gittins", "--dial 1")


async def switch_under_load(url: str) -> list[Job]:
    """Switch back and forth while requests wait; everybody must be served."""
    jobs = []
    for i in range(240):
        short = i % 3 != 0
        jobs.append(Job(str(i), (short_prompt if short else long_prompt)(i), 4 if short else 50))
    load = asyncio.create_task(run_spaced(url, jobs, gap_s=0.0))
    switched = 0
    while not load.done() or switched < len(SWITCHES):
        command = ["switch", url, *SWITCHES[switched % len(SWITCHES)].split()]
        assert await asyncio.to_thread(main, command) == 0
        switched += 1
    done = await load
    assert switched >= len(SWITCHES)
    return done


@pytest.mark.parametrize("more", [("--tp-size", "2"), ("--dp-size", "2")], ids=["tp2", "dp2"])
def test_switching_under_load(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Tensor-parallel ranks would hang if they differed; replicas must all have switched."""
    replicas = 2 if "--dp-size" in more else 1
    args = ["--schedule-policy", "gittins", "--max-running-requests", "4", "--enable-metrics"]
    with start_server(*args, *more, env={"SAGESCHED_DEADLINE_MS": "5000"}) as server:
        learn(server.url)
        done = asyncio.run(switch_under_load(server.url))
        assert [job.completion_tokens for job in done] == [job.tokens for job in done]
        capsys.readouterr()
        assert main(["switch", server.url, "--dial", "3.5", "--policy", "fcfs"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [re.sub(r"\d+ waiting", "", line) for line in lines] == [
            f"replica {i}: fcfs, dial 3.5, order kept up, , parking off, admission SGLang's"
            for i in range(replicas)
        ]
        found = exported(server.url)
        assert fallbacks(found) == {}
        assert found["sagesched_rank_engine_slots"] == 0


@pytest.fixture(scope="module")
def shadow() -> Iterator[EngineServer]:
    env = {"SAGESCHED_SHADOW": "1", "SAGESCHED_TENANT": "extra_key"}
    with one_slot("fcfs", "--enable-metrics", env=env) as server:
        learn(server.url)
        yield server


def test_a_shadow_keeps_arrival_order_and_says_what_would_change(shadow: EngineServer) -> None:
    assert served(shadow.url) == ARRIVAL
    found = exported(shadow.url)
    assert found['sagesched_passes_total{first="would_change"}'] >= 1
    assert found['sagesched_passes_total{first="changed"}'] == 0
    assert found['sagesched_admissions_total{turn="ahead"}'] == 0
    assert found["sagesched_in_force"] == 0
    assert found["sagesched_dial"] == 1
    for order in ("fcfs", "gittins"):
        assert found[f'sagesched_shadow_requests_total{{order="{order}"}}'] > 20
    slowdowns = [
        found[f'sagesched_shadow_slowdown_total{{order="{order}"}}']
        for order in ("gittins", "fcfs")
    ]
    assert slowdowns[0] < slowdowns[1]
    assert fallbacks(found) == {}


def test_predictions_are_held_against_real_lengths(shadow: EngineServer) -> None:
    asyncio.run(run_spaced(shadow.url, [Job(f"p{i}", short_prompt(i), 4) for i in range(10)]))
    found = exported(shadow.url)
    deciles = [value for name, value in found.items() if "predicted_deciles" in name]
    assert sum(deciles) >= 30
    assert found['sagesched_output_tokens_total{kind="real"}'] >= 12 * 60
    assert found['sagesched_output_tokens_total{kind="predicted"}'] > 0
    assert found['sagesched_hook_steps_total{where="scheduler"}'] > 100
    assert found['sagesched_hook_seconds_total{where="scheduler"}'] > 0


def test_tenants_have_their_slowdown(shadow: EngineServer) -> None:
    jobs = [Job(f"t{i}", short_prompt(i), 4, {"extra_key": f"tenant{i % 2}"}) for i in range(6)]
    assert all(job.status == 200 for job in asyncio.run(run_spaced(shadow.url, jobs)))
    found = exported(shadow.url)
    for tenant in ("tenant0", "tenant1"):
        assert found[f'sagesched_tenant_requests_total{{tenant="{tenant}"}}'] == 3


def test_a_shadow_can_be_switched_on_and_off_again(
    shadow: EngineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["switch", shadow.url, "--policy", "gittins", "--dial", "inf"]) == 0
    assert "replica 0: gittins, dial inf, order kept up" in capsys.readouterr().out
    assert kinds(served(shadow.url)) == "SSSSSLLLLL"
    found = exported(shadow.url)
    assert found['sagesched_passes_total{first="changed"}'] >= 1
    assert found['sagesched_admissions_total{turn="ahead"}'] >= 1
    assert found["sagesched_in_force"] == 1
    assert main(["switch", shadow.url, "--policy", "fcfs"]) == 0
    assert "replica 0: fcfs, dial inf" in capsys.readouterr().out
    assert served(shadow.url) == ARRIVAL
    assert fallbacks(exported(shadow.url)) == {}


def test_who_opted_out_is_ranked_as_an_average_request(shadow: EngineServer) -> None:
    """Shorts before it, longs after it, whichever kind it is; its processor sees its own fields."""
    assert main(["switch", shadow.url, "--policy", "gittins", "--dial", "inf"]) == 0
    jobs = waiting_jobs("LSLLSLSSLS")
    jobs[3].extra, jobs[7].extra = OPT_OUT, OPT_OUT
    jobs[3].name, jobs[7].name = "off3", "off7"
    order = served(shadow.url, jobs)
    middle = order.index("off3"), order.index("off7")
    assert middle[0] < middle[1], order
    assert kinds(order[: middle[0]]) == "SSSS", order
    assert kinds(order) == "SSSSooLLLL", order


@pytest.mark.parametrize("wish", [7, None, "on", ["off"], {"off": 1}])
def test_a_malformed_wish_is_ignored(shadow: EngineServer, wish: Any) -> None:
    extra = {"custom_params": {"sagesched": wish}}
    (job,) = asyncio.run(run_spaced(shadow.url, [Job("w", "Hello there.", 4, extra)]))
    assert (job.status, job.completion_tokens) == (200, 4)
    assert fallbacks(exported(shadow.url)) == {}


@pytest.mark.parametrize(
    ("values", "status", "answer"),
    [
        ({"sagesched_dial": -1}, 200, [False]),
        ({"sagesched_gittins": 2}, 200, [False]),
        ({"sagesched_speed": 1}, 200, [False]),
        ({"sagesched_dial": 2, "pp_max_micro_batch_size": 1}, 200, [False]),
        ({"sagesched_policy": "gittins"}, None, None),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(
    shadow: EngineServer, values: dict[str, Any], status: int | None, answer: Any
) -> None:
    before = asyncio.run(state(shadow.url))
    found = asyncio.run(post(shadow.url + "/set_internal_state", {"server_args": values}))
    if status is None:
        assert 400 <= found[0] < 500, found
    else:
        assert found == (status, answer)
    assert asyncio.run(state(shadow.url)) == before


async def state(url: str) -> list[Any]:
    async with session() as client, client.get(url + "/server_info") as response:
        info = await response.json()
    return [{**each["sagesched"], "waiting": 0} for each in info["internal_states"]]


def test_a_server_without_us_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["switch", "http://127.0.0.1:1", "--dial", "2"]) == 1
    assert "does not answer" in capsys.readouterr().err
