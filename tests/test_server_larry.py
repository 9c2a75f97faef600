"""``--schedule-policy larry`` on a real server: order, no prediction, switching, refusals."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from collections.abc import Iterator

import pytest

from cpu_engine.server import EngineServer
from sagesched.cli import main
from sagesched.plugin.wire import PRIVATE_KEY

from .serving import start_server
from .test_server_modes import (
    OPTIMISTIC,
    SCARCE,
    check_ranks_agree,
    crowd,
    nothing_failed,
    serve_all,
    with_priority,
)
from .test_server_operating import exported, fallbacks
from .test_server_order import BLOCKER_TOKENS, one_slot, serve_behind_blockers
from .traffic import Job, post, run_behind, serving_order

pytestmark = pytest.mark.server

MIXED = "LSLLSLSSLS"


ROUND = itertools.count()


def sized_jobs(**extra: dict[str, object]) -> list[Job]:
    """Requests with small (S) and large (L) prompts that are in no cache; the large ones have the
    shorter answers."""
    turn = next(ROUND)
    return [
        Job(
            f"{kind}{i}",
            f"{turn} {i} Say it." if kind == "S" else f"{turn} {i} " + "Many words in a row, " * 40,
            20 if kind == "S" else 5,
            dict(extra) or None,
        )
        for i, kind in enumerate(MIXED)
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[EngineServer]:
    with one_slot("larry", "--enable-metrics", env={"SAGESCHED_DIAL": "inf"}) as started:
        yield started


def kinds(server: EngineServer, jobs: list[Job] | None = None) -> str:
    done = serve_behind_blockers(server.url, jobs or sized_jobs())
    return "".join(name[0] for name in serving_order(done))


def test_small_prompts_are_served_first_without_any_prediction(server: EngineServer) -> None:
    assert kinds(server) == "SSSSSLLLLL"
    found = exported(server.url)
    assert fallbacks(found) == {}
    assert found["sagesched_in_force"] == 1
    assert found['sagesched_admissions_total{turn="ahead"}'] >= 1
    assert found['sagesched_ranked_requests_total{source="prior"}'] >= 10
    assert not any("predictions_total" in name and value for name, value in found.items())
    log = server.log_path.read_text()
    assert "larry in force" in log
    assert "predicting with the embedder" not in log


def test_what_a_client_writes_in_our_fields_is_dropped(server: EngineServer) -> None:
    """A forged prediction neither moves a request nor is counted as an error."""
    jobs = sized_jobs(custom_params={PRIVATE_KEY: [1.0], "__sagesched_tenant": "me"})
    assert kinds(server, jobs) == "SSSSSLLLLL"
    assert fallbacks(exported(server.url)) == {}


def test_switched_to_stock_and_back(
    server: EngineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["switch", server.url, "--policy", "fcfs"]) == 0
    assert kinds(server) == MIXED
    assert main(["switch", server.url, "--policy", "larry", "--dial", "inf"]) == 0
    assert re.search(r"replica 0: larry, dial inf, order kept up", capsys.readouterr().out)
    assert kinds(server) == "SSSSSLLLLL"
    assert fallbacks(exported(server.url)) == {}


def test_it_cannot_become_gittins(server: EngineServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["switch", server.url, "--policy", "gittins"]) == 1
    assert "cannot change to gittins" in capsys.readouterr().err
    values = {"sagesched_gittins": 1, "sagesched_larry": 1}
    answer = asyncio.run(post(server.url + "/set_internal_state", {"server_args": values}))
    assert answer == (200, [False])
    assert main(["switch", server.url, "--dial", str(math.inf)]) == 0
    assert "larry, dial inf" in capsys.readouterr().out


def test_classes_come_first_and_the_demand_decides_inside() -> None:
    args = ["--enable-priority-scheduling", "--enable-metrics"]
    with one_slot("larry", *args, env={"SAGESCHED_DIAL": "inf"}) as server:
        jobs = sized_jobs()
        for job, priority in zip(jobs, (0, 5, 5, 0, 0, 5, 0, 5, 0, 5), strict=True):
            with_priority(job, priority)
        first = [with_priority(Job("blocker", "Count on and on.", BLOCKER_TOKENS), 100)]
        done = asyncio.run(run_behind(server.url, first, jobs))
        order = serving_order([job for job in done if job.name != "blocker"])
        classes = {job.name: (job.extra or {})["priority"] for job in jobs}
        assert [classes[name] for name in order] == [5] * 5 + [0] * 5
        assert "".join(name[0] for name in order) == "SSSLLSSLLL"
        assert fallbacks(exported(server.url)) == {}


def test_ranks_agree_while_requests_are_retracted() -> None:
    """KV memory is short; who was retracted comes back, with what it had produced."""
    args = ["--schedule-policy", "larry", "--tp-size", "2", "--max-running-requests", "16"]
    env = {"SAGESCHED_DEBUG_ORDER": "1", **OPTIMISTIC}
    with start_server(*args, "--enable-metrics", *SCARCE, env=env) as server:
        jobs = crowd(64) + [Job(f"B{i}", f"Go on and on, {i}.", 200) for i in range(24)]
        serve_all(server.url, jobs)
        assert "KV cache pool is full. Retract requests" in server.log_path.read_text()
        check_ranks_agree(server, {"TP0", "TP1"}, least_passes=32)
        nothing_failed(server.url)


def test_tensor_parallel_ranks_agree() -> None:
    """Two real ranks, each by its own KV use and token counts; they would hang if they differed."""
    with one_slot("larry", "--tp-size", "2", env={"SAGESCHED_DIAL": "inf"}) as server:
        done = serve_behind_blockers(server.url, sized_jobs())
        order = "".join(job.name[0] for job in sorted(done, key=lambda job: job.done))
        assert order == "SSSSSLLLLL"
