"""A history file under real servers: a second one starts with what the first has learned, and the
first learns what the second sees."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .history_files import rows
from .serving import start_server
from .traffic import Job, our_metrics, run_job, session, short_prompt, until

pytestmark = pytest.mark.server

ARGS = ("--schedule-policy", "gittins", "--enable-metrics")


async def ask(url: str, first: int, last: int) -> None:
    async with session() as client:
        for n in range(first, last):
            tenant = {"extra_key": f"tenant {n % 2}"}
            job = await run_job(client, url, Job(str(n), short_prompt(n), 2 + n % 5, tenant))
            assert (job.status, job.completion_tokens) == (200, job.tokens)


def event(name: str) -> str:
    return f'sagesched_history_file_records_total{{event="{name}"}}'


async def until_metrics(url: str, records: int, **events: int) -> None:
    """Wait until the history has so many records, and its file's events have come to these."""
    wanted = {"sagesched_history_records": records}
    wanted |= {event(name): n for name, n in events.items()}

    async def there() -> bool:
        found = await our_metrics(url)
        return all(found.get(name) == n for name, n in wanted.items())

    await until(there, f"on the page: {wanted}")


async def ask_until_shared(url: str, first: int, shared: int) -> int:
    """Ask until what another server has learned shows, which is with an outcome; how often."""
    asked = 0

    async def there() -> bool:
        nonlocal asked
        await ask(url, first + asked, first + asked + 1)
        asked += 1
        await asyncio.sleep(1.0)  # in which it is stored, and what another one stored is learned
        return (await our_metrics(url)).get(event("shared")) == shared

    await until(there, "shared")
    return asked


def test_two_servers_and_one_history(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    env = {"SAGESCHED_HISTORY_FILE": str(path), "SAGESCHED_TENANT": "extra_key"}
    with start_server(*ARGS, env=env) as first:
        asyncio.run(ask(first.url, 0, 20))
        asyncio.run(until_metrics(first.url, 20, saved=20))
        with start_server(*ARGS, env=env) as second:
            asyncio.run(ask(second.url, 20, 30))
            asyncio.run(until_metrics(second.url, 30, restored=20, saved=10))
        asked = asyncio.run(ask_until_shared(first.url, 30, shared=10))
        asyncio.run(until_metrics(first.url, 30 + asked, saved=20 + asked, shared=10))
        found = asyncio.run(our_metrics(first.url))
        failures = "sagesched_history_file_failures"
        assert not any(n for name, n in found.items() if name.startswith(failures))
    assert rows(path, "SELECT count(*), count(text) FROM records") == [(30 + asked, 0)]
    by_origin = 'SELECT "group", tenant, count(*) FROM records GROUP BY 1, 2 ORDER BY 2'
    (group, *first_half), (same, *second_half) = rows(path, by_origin)
    assert [first_half, second_half] == [
        ["tenant 0", 15 + (asked + 1) // 2],
        ["tenant 1", 15 + asked // 2],
    ]
    assert group == same != ""
