"""A real server without a tokenizer: prompts are token ids, and the order follows them."""

from __future__ import annotations

import asyncio

import pytest

from .serving import model_directory, start_server
from .test_server_order import WARM_UP
from .traffic import Job, completion_order, long_prompt, our_metrics, run_spaced, short_prompt

pytestmark = pytest.mark.server


def as_ids(jobs: list[Job]) -> list[Job]:
    """The same requests, tokenized by the client."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_directory() / "tokenizer.json"))
    for job in jobs:
        job.extra = {"text": None, "input_ids": tokenizer.encode(job.prompt).ids}
    return jobs


@pytest.mark.parametrize("embedder", ["auto", "model"])
def test_gittins_serves_the_short_kind_first_by_token_ids(embedder: str) -> None:
    args = ["--schedule-policy", "gittins", "--max-running-requests", "1"]
    args += ["--skip-tokenizer-init", "--enable-metrics"]
    env = {"SAGESCHED_DEADLINE_MS": "5000", "SAGESCHED_EMBEDDER": embedder}
    with start_server(*args, env=env) as server:
        known = [Job(f"s{i}", short_prompt(i), 3 + i % 4) for i in range(WARM_UP)]
        known += [Job(f"l{i}", long_prompt(i), 150 + 10 * i) for i in range(WARM_UP)]
        done = asyncio.run(run_spaced(server.url, as_ids(known), gap_s=0.0))
        assert [job.status for job in done] == [200] * len(known)
        waiting = [
            Job(f"{kind}{i}", short_prompt(100 + i), 5)
            if kind == "S"
            else Job(f"{kind}{i}", long_prompt(100 + i), 120)
            for i, kind in enumerate("LSLLSLSSLS")
        ]
        blocker = Job("blocker", "Count on and on.", 2500)
        done = asyncio.run(run_spaced(server.url, as_ids([blocker, *waiting])))
        assert done[0].done > max(job.sent for job in done), "the blocker was too short"
        kinds = "".join(name[0] for name in completion_order(done[1:]))
        assert kinds == "SSSSSLLLLL"
        found = asyncio.run(our_metrics(server.url))
        assert not [name for name in found if "fallback" in name and found[name]]
