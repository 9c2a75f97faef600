"""The order in SGLang's other modes, on real servers; ``docs/modes.md`` lists them."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cpu_engine.make_model import EOS_ID
from cpu_engine.server import EngineServer
from sagesched.plugin.versions import sglang_version

from .serving import start_server
from .test_server_order import (
    kinds,
    known_jobs,
    learn,
    one_slot,
    waiting_jobs,
)
from .traffic import (
    Job,
    abort,
    completion_order,
    our_metrics,
    post,
    run_behind,
    run_job,
    run_spaced,
    session,
    until_load,
)

pytestmark = pytest.mark.server

# The tiny model has one layer. Its random weights say nothing that a test looks at.
TWO_LAYERS = (
    *("--json-model-override-args", '{"num_hidden_layers": 2}'),
    *("--load-format", "dummy"),
)
# So little memory, and so hopeful an admission, that running requests must give it back.
SCARCE = ("--max-total-tokens", "1500", "--schedule-conservativeness", "0.05")
OPTIMISTIC = {"SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION": "8"}
CHECKSUM = re.compile(r"(PP\d|TP\d)[^\n]*sagesched: order checksum (\w+) after (\d+) passes")


def nothing_failed(url: str) -> None:
    """No fallback was counted; the server needs --enable-metrics."""
    found = asyncio.run(our_metrics(url))
    assert not [name for name in found if "fallbacks" in name and found[name]]


def checksums(server: EngineServer) -> dict[int, dict[str, str]]:
    """By number of passes: what each rank logged."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for rank, value, passes in CHECKSUM.findall(server.log_path.read_text(errors="replace")):
        found[int(passes)][rank] = value
    return found


def check_ranks_agree(server: EngineServer, ranks: set[str], least_passes: int) -> None:
    found = {passes: sums for passes, sums in checksums(server).items() if set(sums) == ranks}
    assert max(found, default=0) >= least_passes, checksums(server)
    assert [passes for passes, sums in found.items() if len(set(sums.values())) > 1] == []


def crowd(count: int) -> list[Job]:
    """More than run at once, of both kinds."""
    jobs = waiting_jobs("LSSLSLLS" * (count // 8), lengths=(6, 24))
    assert len(jobs) == count
    return jobs


def serve_all(url: str, jobs: Sequence[Job], gap_s: float = 0.005) -> list[Job]:
    done = asyncio.run(run_spaced(url, jobs, gap_s=gap_s))
    assert [(job.status, job.completion_tokens) for job in done] == [
        (200, job.tokens) for job in jobs
    ]
    return done


def test_pipeline_parallel_ranks_agree() -> None:
    """Two ranks with a queue each, and a batch in flight on each: equal orders, pass by pass."""
    args = ["--schedule-policy", "gittins", "--pp-size", "2", "--max-running-requests", "4"]
    args += TWO_LAYERS
    env = {"SAGESCHED_DEBUG_ORDER": "1", "SAGESCHED_DEADLINE_MS": "5000"}
    with start_server(*args, env=env) as server:
        learn(server.url)
        serve_all(server.url, crowd(160))
        check_ranks_agree(server, {"PP0", "PP1"}, least_passes=64)


def test_tensor_parallel_ranks_agree_without_a_radix_cache_and_under_retraction() -> None:
    """Scarce KV: running requests are retracted, by the index, and come back."""
    args = ["--schedule-policy", "gittins", "--tp-size", "2", "--max-running-requests", "16"]
    args += ["--disable-radix-cache", "--enable-metrics", *SCARCE]
    env = {"SAGESCHED_DEBUG_ORDER": "1", "SAGESCHED_DEADLINE_MS": "5000", **OPTIMISTIC}
    with start_server(*args, env=env) as server:
        learn(server.url)
        jobs = crowd(96) + [Job(f"B{i}", f"Go on and on, {i}.", 200) for i in range(24)]
        serve_all(server.url, jobs)
        assert "KV cache pool is full. Retract requests" in server.log_path.read_text()
        check_ranks_agree(server, {"TP0", "TP1"}, least_passes=32)
        nothing_failed(server.url)


GRAMMAR = {"json_schema": '{"type": "object", "properties": {"a": {"type": "integer"}}}'}


@pytest.fixture(scope="module")
def mixed_bag() -> Iterator[EngineServer]:
    """Many modes at once: pages of 16 tokens, no overlap, chunked prefill, grammars, few slots."""
    args = ["--schedule-policy", "gittins", "--max-running-requests", "4", "--enable-metrics"]
    args += ["--disable-overlap-schedule", "--chunked-prefill-size", "128"]
    args += ["--grammar-backend", "xgrammar"]
    if sglang_version() != "0.5.20":  # whose pages need a GPU
        args += ["--page-size", "16"]
    with start_server(*args, env={"SAGESCHED_DEADLINE_MS": "5000"}) as server:
        learn(server.url)
        yield server


def is_empty_and_sound(url: str) -> None:
    """Nobody waits or runs, no slot of the rank engine is taken, nothing failed."""
    asyncio.run(until_load(url, running=0, waiting=0))
    serve_all(url, [Job("last", "Are you there?", 3)])
    found = asyncio.run(our_metrics(url))
    assert found["sagesched_rank_engine_slots"] == 0.0
    assert not [name for name in found if "fallbacks" in name and found[name]]


def test_pages_chunks_and_no_overlap(mixed_bag: EngineServer) -> None:
    """A prompt of several chunks among a crowd: all are served, the cached prefix is found."""
    long = "tell me more about old maps and " * 40
    jobs = crowd(32) + [Job(f"P{i}", f"{long} {i}", 12) for i in range(4)]
    serve_all(mixed_bag.url, jobs)
    is_empty_and_sound(mixed_bag.url)


def test_grammars_and_samples(mixed_bag: EngineServer) -> None:
    """They come into the queue from another one, once their grammar is compiled."""

    async def ask() -> list[tuple[int, Any]]:
        bodies: list[Any] = []
        for i in range(6):
            params = {"max_new_tokens": 60, "temperature": 0.0, **GRAMMAR}
            bodies.append({"text": f"An object, please ({i}):", "sampling_params": params})
        for i in range(3):
            params = {"max_new_tokens": 5, "n": 3, "temperature": 0.8, "ignore_eos": True}
            bodies.append({"text": f"Three answers to {i}:", "sampling_params": params})
        url = mixed_bag.url + "/generate"
        return list(await asyncio.gather(*(post(url, body) for body in bodies)))

    answers = asyncio.run(ask())
    assert [status for status, _ in answers] == [200] * 9
    assert all(answer["text"].lstrip().startswith("{") for _, answer in answers[:6])
    assert [len(answer) for _, answer in answers[6:]] == [3, 3, 3]
    is_empty_and_sound(mixed_bag.url)


def test_turns_of_a_session(mixed_bag: EngineServer) -> None:
    """The engine keeps the conversation; each turn is a request of its own."""

    async def talk() -> list[int]:
        url = mixed_bag.url
        status, name = await post(url + "/open_session", {"capacity_of_str_len": 4000})
        assert status == 200
        prompts, rid = [], None
        for i in range(3):
            body: dict[str, Any] = {
                "text": f"Turn {i} of our talk about the sea.",
                "sampling_params": {"max_new_tokens": 20, "temperature": 0.0, "ignore_eos": True},
                "session_params": {"id": name, "rid": rid},
            }
            status, answer = await post(url + "/generate", body)
            assert status == 200, answer
            rid = answer["meta_info"]["id"]
            prompts.append(answer["meta_info"]["prompt_tokens"])
        assert (await post(url + "/close_session", {"session_id": name}))[0] == 200
        return prompts

    first, second, third = asyncio.run(talk())
    assert third > second > first + 20
    is_empty_and_sound(mixed_bag.url)


def test_aborts_in_every_state(mixed_bag: EngineServer) -> None:
    """While they run, wait, or wait for their grammar; and all that is there at once."""

    async def abort_them() -> None:
        url = mixed_bag.url
        async with session() as client:
            rids = [f"gone-{i}" for i in range(12)]
            jobs = [Job(rid, f"On and on, {rid}.", 3000, {"rid": rid}) for rid in rids]
            tasks = [asyncio.create_task(run_job(client, url, job)) for job in jobs]
            await until_load(url, running=4, waiting=8)
            compiled = []
            for i, letter in enumerate("abcdef"):
                rid = f"grammar-{i}"
                params = {"max_new_tokens": 400, "regex": f"({letter}[0-9]{{3}})+x"}
                body = {"text": "Match:", "rid": rid, "sampling_params": params}
                compiled.append(asyncio.create_task(post(url + "/generate", body)))
                await asyncio.sleep(0.004 * i)  # SGLang lets it wait its turn, then ends it
                await post(url + "/abort_request", {"rid": rid})
            for task, rid in [*zip(tasks, rids, strict=True)][::3]:
                await abort(url, rid, task)
            await post(url + "/abort_request", {"rid": "", "abort_all": True})
            await asyncio.wait_for(asyncio.gather(*tasks, *compiled), 120)

    asyncio.run(abort_them())
    is_empty_and_sound(mixed_bag.url)


def test_beam_search() -> None:
    """A beam is one request in the queue. There are slots for all: where there are not, SGLang
    0.5.23 itself ends with an assertion, under fcfs, too."""
    with one_slot("gittins", "--max-running-requests", "32", "--enable-metrics") as server:
        body = {
            "text": "Several ways to go on:",
            "sampling_params": {"max_new_tokens": 8, "beam_width": 3, "n": 2, "ignore_eos": True},
        }

        async def ask() -> list[Any]:
            others = run_spaced(server.url, crowd(16), gap_s=0.0)
            beams = [post(server.url + "/generate", body) for _ in range(3)]
            return list(await asyncio.gather(*beams, others))

        *beams, done = asyncio.run(ask())
        assert [status for status, _ in beams] == [200] * 3, beams
        assert [job.status for job in done] == [200] * 16
        is_empty_and_sound(server.url)


def with_priority(job: Job, priority: int | None) -> Job:
    job.extra = {**(job.extra or {}), "priority": priority}
    return job


@pytest.fixture(scope="module")
def classes() -> Iterator[EngineServer]:
    args = ["--enable-priority-scheduling", "--enable-metrics", "--max-queued-requests", "12"]
    with one_slot("gittins", *args) as server:
        learn_slowly(server.url)
        yield server


def learn_slowly(url: str) -> None:
    """Both kinds of prompts, no more of them at once than the queue takes."""
    jobs = known_jobs()
    for i in range(0, len(jobs), 8):
        serve_all(url, jobs[i : i + 8])


def test_classes_come_first_and_the_index_decides_inside(classes: EngineServer) -> None:
    jobs = waiting_jobs("LSLSLSLSLS")
    for job, priority in zip(jobs, (0, 0, 5, 5, None, None, 5, 5, 0, 0), strict=True):
        with_priority(job, priority)
    first = [with_priority(Job("blocker", "Count on and on.", 3900), 100)]
    done = asyncio.run(run_behind(classes.url, first, jobs))
    of = {job.name: (job.extra or {}).get("priority") for job in jobs}
    order = [name for name in completion_order(done) if name in of]
    assert [of[name] for name in order] == [5, 5, 5, 5, 0, 0, 0, 0, None, None]
    assert kinds(order) == "SSLLSSLLSL"
    nothing_failed(classes.url)


def test_sglang_still_preempts_for_a_better_class(classes: EngineServer) -> None:
    async def preempted() -> tuple[Job, Job]:
        async with session() as client:
            low = with_priority(Job("low", "Go on and on.", 1500), 0)
            task = asyncio.create_task(run_job(client, classes.url, low))
            await until_load(classes.url, running=1, waiting=0)
            high = with_priority(Job("high", "Quickly now.", 4), 50)
            await run_job(client, classes.url, high)
            return high, await task

    high, low = asyncio.run(preempted())
    assert high.completion_tokens == 4
    assert low.completion_tokens == 1500
    assert high.done < low.done
    nothing_failed(classes.url)


def test_a_full_queue_turns_the_worst_class_away(classes: EngineServer) -> None:
    async def fill() -> dict[str, int]:
        url = classes.url
        async with session() as client:

            def send(job: Job, priority: int) -> asyncio.Task[Job]:
                return asyncio.create_task(run_job(client, url, with_priority(job, priority)))

            rid = "fills-the-slot"
            blocker = send(Job("b", "Count on and on.", 3900, {"rid": rid}), 100)
            await until_load(url, running=1, waiting=0)
            waiting = []
            for i in range(12):
                waiting.append(send(Job(f"w{i}", f"Wait, {i}.", 3), 1))
                await until_load(url, running=1, waiting=i + 1)
            refused = await send(Job("refused", "Too late.", 3), 1)
            better = send(Job("better", "Let me in.", 3), 2)
            await asyncio.sleep(0.5)
            await abort(url, rid, blocker)
            done = [refused, await better, *await asyncio.gather(*waiting)]
            return {job.name: job.status for job in done}

    status = asyncio.run(fill())
    assert status.pop("refused") == 503
    assert status.pop("better") == 200
    assert sorted(status.values()) == [200] * 11 + [503]
    nothing_failed(classes.url)


class EndsWhenItMay(Job):
    """As long as asked for by SGLang's own means: some front ends call no logit processor."""

    def body(self) -> dict[str, Any]:
        return {
            "text": self.prompt,
            "sampling_params": {
                "max_new_tokens": 2000,
                "min_new_tokens": self.tokens - 1,
                "logit_bias": {str(EOS_ID): 100.0},
            },
            **(self.extra or {}),
        }


def ending_when_they_may(jobs: Sequence[Job]) -> list[Job]:
    return [EndsWhenItMay(job.name, job.prompt, job.tokens, job.extra) for job in jobs]


def test_the_rust_front_end() -> None:
    """No Python runs in it: its requests are predicted, and learned from, in the scheduler."""
    env = {"SGLANG_RUST_SERVER": "1", "SAGESCHED_DEADLINE_MS": "20000", "SAGESCHED_DIAL": "inf"}
    args = ["--schedule-policy", "gittins", "--max-running-requests", "1", "--random-seed", "1"]
    with start_server(*args, env=env) as server:
        learned = asyncio.run(run_spaced(server.url, ending_when_they_may(known_jobs()), gap_s=0.0))
        assert {job.status for job in learned} == {200}
        jobs = ending_when_they_may([Job("blocker", "Count on and on.", 2000), *waiting_jobs()])
        done = asyncio.run(run_spaced(server.url, jobs, gap_s=0.1))  # the first takes seconds
        assert [job.completion_tokens for job in done] == [job.tokens for job in jobs]
        order = kinds(completion_order([job for job in done if job.name != "blocker"]))
        assert order[:5] == "SSSSS", order
