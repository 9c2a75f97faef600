"""Several tokenizer workers: each predicts, all learn from all, and the server ends cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psutil
import pytest

from cpu_engine.server import EngineError, EngineServer
from sagesched.plugin.versions import sglang_version
from sagesched.predict.store.temporary import PREFIX

from .history_files import rows
from .serving import start_server
from .test_server_order import MIXED, kinds, known_jobs, serve_behind_blockers, waiting_jobs
from .traffic import (
    Job,
    abort,
    completion_order,
    our_metrics,
    run_job,
    session,
    short_prompt,
    until,
    until_load,
)

pytestmark = pytest.mark.server

OLD = sglang_version() == "0.5.20"
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
SAVED = 'sagesched_history_file_records_total{event="saved"}'
SHARED = 'sagesched_history_file_records_total{event="shared"}'
OWN_APP = """
from sglang.srt.entrypoints.http_server import app

@app.get("/own_route")
async def own_route() -> str:
    return "own"
"""


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

    async def all_stored() -> bool:
        return texts <= {text for (text,) in rows(path, "SELECT text FROM records")}

    await until(all_stored, "stored")


def stored(path: Path) -> int:
    """Outcomes in the file."""
    ((count,),) = rows(path, "SELECT count(*) FROM records")
    return int(count)


class Another:
    """Sends one more request, to whichever worker, and reads the metrics of both.

    Counters follow a worker's outcomes, so that what it has learned of others shows with its next.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0
        self.found: dict[str, float] = {}

    async def __call__(self) -> None:
        self.sent += 1
        async with session() as client:
            job = await run_job(client, self.url, Job("m", f"Number {self.sent}.", 2))
        assert job.completion_tokens == 2
        await asyncio.sleep(1.0)  # it is stored, and learned by the others, in less
        self.found = await our_metrics(self.url)


async def until_the_other_knows(another: Another, path: Path, worker: int, records: int) -> None:
    """Until the worker that wrote none of these records has learned them."""

    async def knows() -> bool:
        await another()
        # At most all of the other one's records have been learned by this worker.
        ((others,),) = rows(path, f"SELECT count(*) FROM records WHERE writer <> {worker}")
        return another.found.get(SHARED, 0.0) - others >= records

    await until(knows, "learned")


async def get(url: str) -> tuple[int, str]:
    """Over a connection of its own."""
    async with session() as client, client.get(url) as response:
        return response.status, await response.text()


async def abort_one_that_waits(url: str) -> None:
    """Abort it over several connections, so through either worker."""
    async with session() as client:
        running = asyncio.create_task(run_job(client, url, Job("r", "Count.", 1500)))
        await until_load(url, running=1, waiting=0)
        waiting = Job("w", "Go on and on.", 1500, {"rid": "to-be-aborted"})
        task = asyncio.create_task(run_job(client, url, waiting))
        await until_load(url, running=1, waiting=1)
        await abort(url, "to-be-aborted", task)
        assert not running.done()
        assert waiting.completion_tokens < 1500
        assert (await running).completion_tokens == 1500


def main_process(server: EngineServer) -> psutil.Process:
    (process,) = psutil.Process(server.pid).children()
    return process


@pytest.mark.skipif(OLD, reason="SGLang 0.5.20 has no --enable-http-worker-reuseport")
def test_workers_share_a_temporary_history(tmp_path: Path) -> None:
    with start_server(*ARGS, env={**ENV, "TMPDIR": str(tmp_path)}) as server:
        (path,) = tmp_path.glob(f"{PREFIX}*/history.db")
        learned = known_jobs()
        asyncio.run(over_one_connection(server.url, learned))
        asyncio.run(until_stored(path, learned))
        (worker,) = writers(path, learned)
        another = Another(server.url)
        asyncio.run(until_the_other_knows(another, path, worker, len(learned)))

        jobs = waiting_jobs(MIXED + MIXED)  # so many that no worker gets none
        done = serve_behind_blockers(server.url, jobs)
        assert kinds(completion_order(done)) == "S" * 10 + "L" * 10
        asyncio.run(until_stored(path, jobs))
        assert len(writers(path, jobs)) == 2

        asyncio.run(abort_one_that_waits(server.url))
        for _ in range(8):
            assert asyncio.run(get(server.url + "/health_generate"))[0] == 200
        asked = len(learned) + 1 + len(jobs) + 1  # a blocker, and the one behind which one waited
        asyncio.run(check_metrics(another, path, asked))

        process = main_process(server)
        everybody = process.children(recursive=True)
        process.terminate()
        process.wait(60)
        _, alive = psutil.wait_procs(everybody, timeout=60)
        assert not alive
    assert not list(tmp_path.glob(f"{PREFIX}*"))


async def check_metrics(another: Another, path: Path, asked: int) -> None:
    """Those of both workers, on whichever answers; health checks are not learned."""

    async def complete() -> bool:
        await another()
        found = another.found
        return found[SAVED] == stored(path) == found["sagesched_history_records"]

    await until(complete, "all of it on the page")
    assert another.found[SHARED] >= len(known_jobs())
    assert another.found["sagesched_rank_engine_slots"] == 0
    warm_up = 2  # one of each worker
    # The aborted one may be learned, too.
    assert stored(path) - asked - another.sent - warm_up in (0, 1)
    failed = {
        name: n for name, n in another.found.items() if "fallbacks" in name or "failures" in name
    }
    assert not any(failed.values()), failed


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
        if not OLD:  # which names its own app
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
    server = start_server(*ARGS[:-1], env=env)
    with pytest.raises(EngineError):
        server.start()
    log = server.log_path.read_text(errors="replace")
    server.stop()
    assert "the length predictor cannot be built" in log
