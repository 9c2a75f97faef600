"""Several of SGLang's schedulers under one virtual clock: against one, by hand, and repeated."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sagesched.balance import chooser_names
from sagesched.replay.cluster.config import Balance, ClusterConfig
from sagesched.replay.engine import EngineConfig
from sagesched.replay.trace import TraceRequest

from .replaying import Job, replaying, request

pytestmark = pytest.mark.server

SMALL = EngineConfig(pool_tokens=3_000, max_running=8, context=1_024, chunk=128, mixed=True)


def cluster(pools: tuple[int, ...] = (3_000,) * 2, **more: Any) -> ClusterConfig:
    """Replicas of speed 1."""
    return ClusterConfig(pools, more.pop("speeds", (1.0,) * len(pools)), **more)


def traffic(n: int, seed: int, gap_s: float) -> list[TraceRequest]:
    """Prompts that share their beginnings, outputs of very different lengths."""
    draw = random.Random(seed)
    at, made = 0.0, []
    for number in range(n):
        at += draw.expovariate(1 / gap_s)
        family = draw.randrange(6)
        tail = draw.randrange(10, 200)
        first = 1_000 + 2_000 * family
        prompt = array("q", range(first, first + 96))
        prompt.extend(range(20_000 + 250 * number, 20_000 + 250 * number + tail))
        made.append(TraceRequest(at, prompt, draw.choice([3, 10, 40, 200]), cluster=f"f{family}"))
    return made


@pytest.fixture(scope="module")
def replay() -> Iterator[Any]:
    with replaying(SMALL) as run:
        yield run


@pytest.fixture(scope="module")
def overlapped() -> Iterator[Any]:
    with replaying(replace(SMALL, overlap=True)) as run:
        yield run


@pytest.mark.parametrize("policy", ["fcfs", "lpm", "gittins", "fastserve"])
def test_one_replica_is_the_ordinary_replay(policy: str, replay: Any, overlapped: Any) -> None:
    job = Job(traffic(80, seed=1, gap_s=3.0), policy)
    for run in (replay, overlapped):
        alone, one = run(job), run(replace(job, cluster=cluster((3_000,))))
        assert one.digest == alone.digest
        assert (one.steps, one.sent) == (alone.steps, (80,))
        assert one.prefill_tokens == alone.prefill_tokens


@pytest.mark.parametrize("policy", ["fcfs", "gittins"])
def test_replicas_do_not_touch_each_other(policy: str, replay: Any, overlapped: Any) -> None:
    """In turns over three: each request has the times that it has in its replica's own replay."""
    requests = traffic(90, seed=2, gap_s=1.5)
    config = cluster((3_000, 2_000, 3_000), speeds=(1.0, 1.0, 0.5))
    for run in (replay, overlapped):
        together = run(Job(requests, policy, cluster=config))
        assert together.sent == (30, 30, 30)
        for index in range(3):
            own = cluster((config.pools[index],), speeds=(config.speeds[index],))
            alone = run(Job(requests[index::3], policy, cluster=own))
            np.testing.assert_array_equal(together.first_s[index::3], alone.first_s)
            np.testing.assert_array_equal(together.last_s[index::3], alone.last_s)


def test_a_slow_replica_by_hand(replay: Any) -> None:
    """A second a step on one, two on the other; the prefill gives the first token."""
    requests = [request(0.0, 4, 3, number=0), request(0.5, 4, 3, number=1)]
    result = replay(Job(requests, cluster=cluster(speeds=(1.0, 0.5))))
    assert result.first_s.tolist() == [1.0, 2.5]
    assert result.last_s.tolist() == [3.0, 6.5]


def test_loads_are_seen_late(replay: Any) -> None:
    """total_tokens sees that replica 0 is done with a long prompt, unless that news is too old."""
    requests = [request(0.0, 100, 2, number=0), request(1.0, 4, 2, number=1)]
    requests.append(request(20.0, 4, 2, number=2))
    job = Job(requests, cluster=cluster(), balance=Balance("total_tokens"))
    assert replay(job).sent == (2, 1)  # both are empty again: the first one
    late = replace(job, cluster=cluster(load_delay_s=100.0))
    assert replay(late).sent == (1, 2)  # all it knows is what it sent


def test_ends_are_heard_at_once_unless_they_are_late_too(replay: Any) -> None:
    """The request at replica 0 has ended when the second comes; its report is too old to say so."""
    requests = [request(0.0, 100, 2, number=0), request(20.0, 4, 2, number=1)]
    job = Job(requests, cluster=cluster(load_delay_s=100.0), balance=Balance("sal-prompt"))
    assert replay(job).sent == (2, 0)  # both are empty: the first one
    late = replace(job, cluster=cluster(load_delay_s=100.0, end_delay_s=100.0))
    assert replay(late).sent == (1, 1)


@pytest.mark.parametrize("name", chooser_names())
def test_every_chooser_serves_all_and_repeats(name: str, replay: Any) -> None:
    job = Job(
        traffic(60, seed=3, gap_s=1.0),
        cluster=cluster(load_delay_s=2.0, end_delay_s=1.0),
        balance=Balance(name),
    )
    first, again = replay(job), replay(job)
    assert first.digest == again.digest
    assert sum(first.sent) == 60
    assert min(first.sent) > 0
    assert (first.output_tokens == first.true_tokens).all()


def test_a_process_of_its_own_makes_no_difference(replay: Any) -> None:
    """Hashes differ between processes; block numbers of the prefix table are hashes."""
    job = Job(traffic(60, seed=4, gap_s=1.0), cluster=cluster(), balance=Balance("sal"))
    with replaying(SMALL, hash_seed=7) as other:
        assert other(job).digest == replay(job).digest


def test_sal_finds_the_cached_prefix(replay: Any) -> None:
    """Eleven conversations over four replicas: more of them is cached than one after the other."""
    requests = []
    for number in range(144):
        talk, turn = number % 11, number // 11
        prompt = array("q", range(1_000 + 1_000 * talk, 1_100 + 1_000 * talk + 40 * turn))
        requests.append(TraceRequest(3.0 * number, prompt, 5))
    job = Job(requests[:-1], cluster=cluster((3_000,) * 4))
    turns = replay(job)
    for name in ("sal", "cache_aware"):
        assert replay(replace(job, balance=Balance(name))).prefix_hit > turns.prefix_hit + 0.05


def test_true_lengths_start_requests_sooner_than_turns(replay: Any) -> None:
    """One replica gets all the long ones in turns; who knows better goes round it."""
    requests = [
        request(12.0 * number, 20, 300 if number % 2 == 0 else 3, number=number)
        for number in range(60)
    ]
    job = Job(requests, cluster=cluster())
    turns = replay(job).ttft_s.mean()
    for name in ("oracle", "oracle_start", "sal"):
        assert replay(replace(job, balance=Balance(name))).ttft_s.mean() < 0.5 * turns


def test_an_unknown_chooser_is_refused(replay: Any) -> None:
    with pytest.raises(ValueError, match="unknown chooser 'best'"):
        replay(Job(traffic(3, 1, 1.0), cluster=cluster(), balance=Balance("best")))
