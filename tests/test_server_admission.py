"""Admission by forecast, the default, on a real server, in a pool that stock admission uses badly.

Each request may produce more than the pool holds, so that by SGLang's own rule one runs at a time.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from sagesched.plugin.versions import sglang_version

from .serving import start_server
from .traffic import Job, long_prompt, our_metrics, run_spaced, short_prompt

pytestmark = pytest.mark.server


@pytest.mark.skipif(sglang_version() == "0.5.20", reason="has no seam for what is reserved")
def test_more_run_at_once_and_nothing_is_lost_when_predictions_are_wrong() -> None:
    args = ["--schedule-policy", "gittins", "--max-running-requests", "32", "--enable-metrics"]
    args += ["--max-total-tokens", "1500", "--chunked-prefill-size", "64"]
    args += ["--decode-log-interval", "1"]
    env = {"SAGESCHED_DEADLINE_MS": "5000"}
    with start_server(*args, env=env) as server:
        learned = [Job(f"s{i}", short_prompt(i), 4 + i % 5) for i in range(48)]
        asyncio.run(run_spaced(server.url, learned))
        told = [Job(f"t{i}", short_prompt(100 + i), 8) for i in range(64)]
        asyncio.run(run_spaced(server.url, told, gap_s=0.0))
        most = max(map(int, re.findall(r"#running-req: (\d+)", server.log_path.read_text())))
        assert most >= 6, "SGLang's own reserve is in force"

        wrong = [Job(f"w{i}", short_prompt(200 + i), 150) for i in range(48)]
        prompts = [Job(f"p{i}", 12 * long_prompt(i), 20) for i in range(12)]  # go in chunks
        mixed = [job for four in zip(*[iter(wrong)] * 4, prompts, strict=True) for job in four]
        asyncio.run(run_spaced(server.url, mixed, gap_s=0.0))
        for job in learned + told + mixed:
            assert (job.status, job.completion_tokens) == (200, job.tokens), job.name
        assert "KV cache pool is full. Retract requests" in server.log_path.read_text()
        found = asyncio.run(our_metrics(server.url))
        assert found["sagesched_rank_engine_slots"] == 0
        assert not [name for name in found if "fallbacks" in name and found[name]]
