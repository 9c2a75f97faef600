"""A real server without a tokenizer: prompts are token ids, and the order follows them."""

from __future__ import annotations

import asyncio

import pytest

from .serving import model_directory
from .test_server_order import (
    BLOCKER_TOKENS,
    kinds,
    known_jobs,
    one_slot,
    waiting_jobs,
)
from .traffic import Job, completion_order, our_metrics, run_behind, run_spaced

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
    more = ["--skip-tokenizer-init", "--enable-metrics"]
    with one_slot("gittins", *more, env={"SAGESCHED_EMBEDDER": embedder}) as server:
        known = as_ids(known_jobs())
        done = asyncio.run(run_spaced(server.url, known, gap_s=0.0))
        assert [job.status for job in done] == [200] * len(known)
        blockers = as_ids([Job("blocker", "Count on and on.", BLOCKER_TOKENS)])
        done = asyncio.run(run_behind(server.url, blockers, as_ids(waiting_jobs())))
        assert kinds(completion_order(done)) == "SSSSSLLLLL"
        found = asyncio.run(our_metrics(server.url))
        assert not [name for name in found if "fallback" in name and found[name]]
