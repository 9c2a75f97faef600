"""Several tokenizer workers: each predicts, all learn from all, and the server ends cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psutil
import pytest

from cpu_engine.server import EngineError, EngineServer
from sagesched.predict.store.temporary import PREFIX

from .history_files import rows
from .serving import start_server
from .test_server_order import serve_behind_blockers, waiting_jobs
from .traffic import (
    Job,
    completion_order,
    long_prompt,
    our_metrics,
    post,
    run_job,
    session,
    short_prompt,
)

pytestmark = pytest.mark.server

# SO_REUSEPORT deals connections out among the workers; one idle worker would take them all.
ARGS = (
    *("--schedule-policy", "gittins", "--enable-metrics", "--max-running-requests", "1"),
    *("--tokenizer-worker-num", "2", "--enable-http-worker-reuseport"),
)
ENV = {
    "SAGESCHED_DEADLINE_MS": "5000",  # a busy machine must not matter
    "SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT": "120",
    "SAGESCHED_STORE_PROMPTS": "1",  # tells which worker answered which prompt
}
LEARNED = 12
OWN_APP = """
from sglang.srt.entrypoints.http_server import app

@app.get("/own_route")
async def own_route() -> str:
    return "own"
"""


def jobs_to_learn() -> list[Job]:
    """Both kinds of prompts."""
    jobs = [Job(f"s{i}", short_prompt(i), 3 + i % 4) for i in range(LEARNED)]
    return jobs + [Job(f"l{i}", long_prompt(i), 150 + 10 * i) for i in range(LEARNED)]


async def over_one_connection(url: str, jobs: Sequence[Job]) -> None:
    """One worker answers all of them."""
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as client:
        done = await asyncio.gather(*(run_job(client, url, job) for job in jobs))
    assert all((job.status, job.completion_tokens) == (200, job.tokens) for job in done)


def writers(path: Path, jobs: Sequence[Job]) -> list[int]:
    """The workers that wrote the outcomes of these jobs."""
    texts = {job.prompt for job in jobs}
    found = rows(path, "SELECT writer, text FROM records")
    return sorted({writer for writer, text in found if text in texts})


async def until_stored(path: Path, jobs: Sequence[Job]) -> None:
    texts = {job.prompt for job in jobs}
    for _ in range(50):
        stored = {text for (text,) in rows(path, "SELECT text FROM records")}
        if texts <= stored:
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"never stored: {texts - stored}")


async def get(url: str) -> tuple[int, str]:
    """Over a connection of its own."""
    async with session() as client, client.get(url) as response:
        return response.status, await response.text()


async def abort_one_that_waits(url: str) -> None:
    """Abort it over several connections, so through either worker."""
    async with session() as client:
        running = asyncio.create_task(run_job(client, url, Job("r", "Count.", 1500)))
        await asyncio.sleep(0.5)
        waiting = Job("w", "Go on and on.", 1500, {"rid": "to-be-aborted"})
        task = asyncio.create_task(run_job(client, url, waiting))
        await asyncio.sleep(0.5)
        for _ in range(4):
            await post(url + "/abort_request", {"rid": "to-be-aborted"})
        await asyncio.wait_for(task, 60)
        assert not running.done()
        assert waiting.completion_tokens < 1500
        assert (await running).completion_tokens == 1500


def main_process(server: EngineServer) -> psutil.Process:
    (process,) = psutil.Process(server.pid).children()
    return process


def test_workers_share_a_temporary_history(tmp_path: Path) -> None:
    with start_server(*ARGS, env={**ENV, "TMPDIR": str(tmp_path)}) as server:
        (path,) = tmp_path.glob(f"{PREFIX}*/history.db")
        learned = jobs_to_learn()
        asyncio.run(over_one_connection(server.url, learned))
        asyncio.run(until_stored(path, learned))
        assert len(writers(path, learned)) == 1
        asyncio.run(asyncio.sleep(3.0))  # the other worker learns

        jobs = waiting_jobs()
        done = serve_behind_blockers(server.url, jobs)
        assert "".join(name[0] for name in completion_order(done)) == "SSSSSLLLLL"
        asyncio.run(until_stored(path, jobs))
        assert len(writers(path, jobs)) == 2

        asyncio.run(abort_one_that_waits(server.url))
        for _ in range(8):
            assert asyncio.run(get(server.url + "/health_generate"))[0] == 200
        asyncio.run(check_metrics(server.url, path))

        process = main_process(server)
        everybody = process.children(recursive=True)
        process.terminate()
        process.wait(60)
        _, alive = psutil.wait_procs(everybody, timeout=10)
        assert not alive
    assert not list(tmp_path.glob(f"{PREFIX}*"))


async def check_metrics(url: str, path: Path) -> None:
    """Those of both workers, on whichever answers; health checks are not learned."""
    for n in range(8):  # counters follow outcomes, so both workers need some
        async with session() as client:
            await run_job(client, url, Job("m", f"Number {n}.", 2))
    event = 'sagesched_history_file_records_total{event="%s"}'
    for _ in range(50):
        found = await our_metrics(url)
        ((count,),) = rows(path, "SELECT count(*) FROM records")
        if found[event % "saved"] == count == found["sagesched_history_records"]:
            break
        await asyncio.sleep(0.2)
    assert found[event % "saved"] == count == found["sagesched_history_records"]
    assert found[event % "shared"] >= 2 * LEARNED
    assert found["sagesched_rank_engine_slots"] == 0
    asked = 2 * LEARNED + len(waiting_jobs()) + 1 + 1 + 8
    warm_up = 2  # one of each worker
    assert count - asked - warm_up in (0, 1)  # the aborted one may be learned, too
    assert not [name for name in found if "fallbacks" in name or "failures" in name]


def test_the_operators_app_and_file_are_used(tmp_path: Path) -> None:
    (tmp_path / "own_app.py").write_text(OWN_APP)
    path = tmp_path / "history.db"
    env = {
        **ENV,
        "SGLANG_HTTP_SERVER_APP_PATH": "own_app:app",
        "PYTHONPATH": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "SAGESCHED_HISTORY_FILE": str(path),
    }
    with start_server(*ARGS[:-1], env=env) as server:
        assert asyncio.run(get(server.url + "/own_route")) == (200, '"own"')
        jobs = [Job("j", short_prompt(n), 3) for n in range(3)]
        asyncio.run(over_one_connection(server.url, jobs))
        asyncio.run(until_stored(path, jobs))
        found = asyncio.run(our_metrics(server.url))
        assert found['sagesched_ranked_requests_total{source="predicted"}'] >= 3
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_a_worker_that_cannot_predict_stops_the_server() -> None:
    """No endless starting again; uvicorn looks after a worker that has ended in this time."""
    env = {
        **ENV,
        "SAGESCHED_EMBEDDER": "model:/no/such/folder",
        "SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT": "45",
    }
    server = start_server(*ARGS, env=env)
    with pytest.raises(EngineError):
        server.start()
    log = server.log_path.read_text(errors="replace")
    server.stop()
    assert "the length predictor cannot be built" in log
