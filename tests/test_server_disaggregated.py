"""Prefill and decode servers, each for real, and alone: SGLang's own stand-in takes the place of
the transfer, so that a decode server's prompts have no KV and what it produces says nothing but its
length."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cpu_engine.server import EngineServer
from sagesched.plugin.versions import sglang_version

from .serving import start_server
from .test_server_modes import TWO_LAYERS, check_ranks_agree, crowd
from .test_server_order import BLOCKER_TOKENS, kinds, known_jobs, one_slot, waiting_jobs
from .traffic import (
    Job,
    completion_order,
    our_metrics,
    run_behind,
    run_job,
    run_spaced,
    serving_order,
    session,
    until,
    until_load,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sglang_version() == "0.5.20", reason="not tried there"),
]

DECODE = (
    *("--disaggregation-mode", "decode", "--disaggregation-transfer-backend", "fake"),
    *("--disaggregation-decode-retraction-backup", "cpu_tensor"),
    *("--disaggregation-decode-extra-slots", "0", "--enable-metrics"),
)
PREFILL = (
    *("--disaggregation-mode", "prefill", "--disaggregation-transfer-backend", "nixl"),
    *("--chunked-prefill-size", "16", "--enable-metrics"),
)
WITHOUT_EVENTS = {"SGLANG_DISAGG_PREFILL_EARLY_SEND_CACHED_PREFIX": "0"}
"""Of CUDA, for what is sent before a prompt is computed."""
BLOCKER_REPEATS = 500
NOBODY = "2.2.2.2"
"""The address by which SGLang knows that nothing is to be transferred."""


def paired(jobs: Sequence[Job]) -> list[Job]:
    """As a router sends them, each with the address of its prefill server and a room there.

    Named, because SGLang's stand-in makes a request's first token up from its name: of a random one
    it would now and then be the last.
    """
    for room, job in enumerate(jobs):
        pair = {"bootstrap_host": NOBODY, "bootstrap_room": room + 1, "rid": job.name}
        job.extra = {**(job.extra or {}), **pair}
    return list(jobs)


TRANSFERS_NOTHING = """
def register():
    from sglang.srt.disaggregation import decode, fake, prefill, utils
    from sglang.srt.managers import disagg_service

    stock = utils.get_kv_class
    stand_ins = {
        utils.KVClassType.MANAGER: fake.FakeKVManager,
        utils.KVClassType.SENDER: fake.FakeKVSender,
        utils.KVClassType.BOOTSTRAP_SERVER: lambda host, port: None,
    }

    def get_kv_class(backend, kind):
        return stand_ins.get(kind) or stock(backend, kind)

    for module in (utils, prefill, decode, disagg_service):
        module.get_kv_class = get_kv_class
"""


def prefill_server(
    folder: Path, history: Path, *more: str, env: Mapping[str, str] | None = None
) -> EngineServer:
    """It refuses SGLang's stand-in by name, so another plug-in puts it in the place of nixl."""
    dist = folder / "nothing-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text(
        "[sglang.srt.plugins]\nnothing = transfers_nothing:register\n"
    )
    (folder / "transfers_nothing.py").write_text(TRANSFERS_NOTHING)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    ours = {"PYTHONPATH": path, "SAGESCHED_HISTORY_FILE": str(history), **WITHOUT_EVENTS}
    return one_slot("gittins", *PREFILL, *more, env={**ours, **(env or {})})


@dataclass(frozen=True)
class Decoded:
    """What a decode server did: jobs to learn from, jobs that waited, its history and metrics."""

    learned: list[Job]
    waited: list[Job]
    history: Path
    metrics: dict[str, float]


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    history = tmp_path_factory.mktemp("history") / "history.db"
    with one_slot("gittins", *DECODE, env={"SAGESCHED_HISTORY_FILE": str(history)}) as server:
        learned = asyncio.run(run_spaced(server.url, paired(known_jobs()), gap_s=0.0))
        blocker = paired([Job("blocker", "Count on and on.", BLOCKER_TOKENS)])
        waited = asyncio.run(run_behind(server.url, blocker, paired(waiting_jobs())))
        return Decoded(learned, waited, history, asyncio.run(our_metrics(server.url)))


def test_a_decode_server_gives_memory_to_the_short_kind_first(decoded: Decoded) -> None:
    for jobs in (decoded.learned, decoded.waited):
        assert [job.completion_tokens for job in jobs] == [job.tokens for job in jobs]
    assert kinds(completion_order(decoded.waited)) == "SSSSSLLLLL"
    assert not [name for name in decoded.metrics if "fallbacks" in name and decoded.metrics[name]]


def test_a_decode_server_short_of_memory_serves_all() -> None:
    """Running requests give their memory back, and are resumed before others get any."""
    scarce = ("--max-total-tokens", "600", "--num-reserved-decode-tokens", "8")
    clip = {"SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION": "8"}
    args = ("--schedule-policy", "gittins", *DECODE, "--max-running-requests", "8", *scarce)
    with start_server(*args, env=clip) as server:
        jobs = paired(waiting_jobs("LSLS" * 8, lengths=(20, 120)))
        done = asyncio.run(run_spaced(server.url, jobs, gap_s=0.005))
        assert [job.completion_tokens for job in done] == [job.tokens for job in done]
        found = asyncio.run(our_metrics(server.url))
        assert not [name for name in found if "fallbacks" in name and found[name]]
        assert sum(count for name, count in found.items() if "retract" in name) > 0, found


async def run_behind_a_prompt(url: str, jobs: Sequence[Job]) -> list[Job]:
    """Send a prompt of many chunks, and the jobs while it is computed."""
    async with session() as client:

        async def admitted() -> float:
            found = await our_metrics(url)
            return sum(count for name, count in found.items() if "admissions" in name)

        before = await admitted()  # of the server's own start

        async def has_begun() -> bool:
            return await admitted() > before

        (blocker,) = paired([Job("blocker", "Count on and on. " * BLOCKER_REPEATS, 1)])
        first = asyncio.create_task(run_job(client, url, blocker))
        await until(has_begun, "begun")
        tasks = []
        for job in jobs:
            tasks.append(asyncio.create_task(run_job(client, url, job)))
            await asyncio.sleep(0.02)
        await until_load(url, running=0, waiting=len(tasks))
        assert not first.done(), "the prompt was too short"
        await first
        return list(await asyncio.gather(*tasks))


@pytest.mark.parametrize("slots", ["16", "1"], ids=["waiting queue", "bootstrap queue"])
def test_a_prefill_server_computes_the_short_kind_first(
    slots: str, decoded: Decoded, tmp_path: Path
) -> None:
    """It knows the kinds from the decode server's history. At one slot two requests can set up a
    transfer: the long prompt and who comes first; the others are taken from the bootstrap queue."""
    with prefill_server(tmp_path, decoded.history, "--max-running-requests", slots) as server:
        done = asyncio.run(run_behind_a_prompt(server.url, paired(waiting_jobs())))
        found = asyncio.run(our_metrics(server.url))
        assert [job.completion_tokens for job in done] == [1] * len(done)
        waited, expected = (done[1:], "SSSSSLLLL") if slots == "1" else (done, "SSSSSLLLLL")
        assert kinds(serving_order(waited)) == expected
        assert not [name for name in found if "fallbacks" in name and found[name]]


PIPELINE = ("--pp-size", "2", *TWO_LAYERS)
DEBUG_ORDER = {"SAGESCHED_DEBUG_ORDER": "1", "SAGESCHED_DEADLINE_MS": "5000"}


def test_the_pipeline_ranks_of_a_decode_server_agree() -> None:
    args = ("--schedule-policy", "gittins", "--max-running-requests", "4", *DECODE, *PIPELINE)
    with start_server(*args, env=DEBUG_ORDER) as server:
        asyncio.run(run_spaced(server.url, paired(known_jobs()), gap_s=0.0))
        done = asyncio.run(run_spaced(server.url, paired(crowd(96)), gap_s=0.005))
        assert [job.completion_tokens for job in done] == [job.tokens for job in done]
        check_ranks_agree(server, {"PP0", "PP1"}, least_passes=64)
        found = asyncio.run(our_metrics(server.url))
        assert not [name for name in found if "fallbacks" in name and found[name]]


@pytest.mark.parametrize("slots", ["16", "1"], ids=["waiting queue", "bootstrap queue"])
def test_the_pipeline_ranks_of_a_prefill_server_agree(
    slots: str, decoded: Decoded, tmp_path: Path
) -> None:
    more = ("--max-running-requests", slots, *PIPELINE)
    with prefill_server(tmp_path, decoded.history, *more, env=DEBUG_ORDER) as server:
        done = asyncio.run(run_spaced(server.url, paired(crowd(48)), gap_s=0.005))
        assert [job.completion_tokens for job in done] == [1] * len(done)
        check_ranks_agree(server, {"PP0", "PP1"}, least_passes=16)
        found = asyncio.run(our_metrics(server.url))
        assert not [name for name in found if "fallbacks" in name and found[name]]
