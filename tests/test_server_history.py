"""A history file under real servers: a second one starts with what the first has learned, and the
first learns what the second sees."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .history_files import rows
from .serving import start_server
from .traffic import Job, our_metrics, run_job, session, short_prompt

pytestmark = pytest.mark.server

ARGS = ("--schedule-policy", "gittins", "--enable-metrics")


async def ask(url: str, first: int, last: int) -> None:
    async with session() as client:
        for n in range(first, last):
            tenant = {"extra_key": f"tenant {n % 2}"}
            job = await run_job(client, url, Job(str(n), short_prompt(n), 2 + n % 5, tenant))
            assert (job.status, job.completion_tokens) == (200, job.tokens)


async def metrics_with(url: str, **events: float) -> dict[str, float]:
    """Our metrics, once the history file's events have come to these (or after ten seconds)."""
    wanted = {
        f'sagesched_history_file_records_total{{event="{event}"}}': float(n)
        for event, n in events.items()
    }
    for _ in range(50):
        found = await our_metrics(url)
        if all(found.get(name) == n for name, n in wanted.items()):
            break
        await asyncio.sleep(0.2)
    assert wanted.items() <= found.items(), found
    return found


def test_two_servers_and_one_history(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    env = {"SAGESCHED_HISTORY_FILE": str(path), "SAGESCHED_TENANT": "extra_key"}
    with start_server(*ARGS, env=env) as first:
        asyncio.run(ask(first.url, 0, 20))
        asyncio.run(metrics_with(first.url, saved=20))
        with start_server(*ARGS, env=env) as second:
            asyncio.run(ask(second.url, 20, 30))
            found = asyncio.run(metrics_with(second.url, restored=20, saved=10))
            assert found["sagesched_history_records"] == 30
        asyncio.run(asyncio.sleep(2.0))
        asyncio.run(ask(first.url, 30, 31))
        found = asyncio.run(metrics_with(first.url, saved=21, shared=10))
        assert found["sagesched_history_records"] == 31
        assert not any(name.startswith("sagesched_history_file_failures") for name in found)
    assert rows(path, "SELECT count(*), count(text) FROM records") == [(31, 0)]
    by_origin = 'SELECT "group", tenant, count(*) FROM records GROUP BY 1, 2 ORDER BY 2'
    (group, *first_half), (same, *second_half) = rows(path, by_origin)
    assert [first_half, second_half] == [["tenant 0", 16], ["tenant 1", 15]]
    assert group == same != ""
