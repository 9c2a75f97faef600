"""The decode server of a prefill/decode pair, for real: SGLang's own stand-in takes the place of the
transfer, so the prompt's KV is never written and what is produced says nothing but its length."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from cpu_engine.server import EngineServer
from sagesched.plugin.versions import sglang_version

from .test_server_order import BLOCKER_TOKENS, kinds, known_jobs, one_slot, waiting_jobs
from .traffic import Job, completion_order, our_metrics, run_behind, run_spaced

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sglang_version() == "0.5.20", reason="not tried there"),
]

DECODE = (
    *("--disaggregation-mode", "decode", "--disaggregation-transfer-backend", "fake"),
    *("--disaggregation-decode-retraction-backup", "cpu_tensor"),
    *("--disaggregation-decode-extra-slots", "0", "--enable-metrics"),
)
NOBODY = "2.2.2.2"
"""The address by which SGLang knows that nothing is to be transferred."""


def paired(jobs: Sequence[Job]) -> list[Job]:
    """As a router sends them, each with the address of its prefill server and a room there."""
    for room, job in enumerate(jobs):
        job.extra = {**(job.extra or {}), "bootstrap_host": NOBODY, "bootstrap_room": room + 1}
    return list(jobs)


def decode_server(policy: str, env: Mapping[str, str | None] | None = None) -> EngineServer:
    return one_slot(policy, *DECODE, env=env)


def test_the_short_kind_gets_memory_first() -> None:
    with decode_server("gittins") as server:
        learned = asyncio.run(run_spaced(server.url, paired(known_jobs()), gap_s=0.0))
        assert [job.completion_tokens for job in learned] == [job.tokens for job in learned]
        blocker = paired([Job("blocker", "Count on and on.", BLOCKER_TOKENS)])
        done = asyncio.run(run_behind(server.url, blocker, paired(waiting_jobs())))
        assert [job.completion_tokens for job in done] == [job.tokens for job in done]
        assert kinds(completion_order(done)) == "SSSSSLLLLL"
        found = asyncio.run(our_metrics(server.url))
        assert [name for name in found if "fallbacks" in name] == []
        assert [n for n in found if n.startswith("sagesched_ranked") and "predicted" in n]
