"""One policy from start to end: a fresh server, learning, an empty cache, the timed requests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpu_engine.server import EngineServer

from .arrivals import poisson_arrivals
from .client import Client, Outcome
from .engine import Engine
from .progress import Progress, say
from .replay import Replay
from .saturation import Saturation, saturation
from .workload import Request, Workload

SATURATION_REQUESTS = 160
QUEUE = 4
"""Outside the timed part this many times the running batch is kept in the server."""


@dataclass(frozen=True)
class Bench:
    """What all policies of a comparison share.

    Attributes:
        engine: how servers are started.
        workload: the requests.
        replay: how their true lengths are replayed.
        load: arrival rate of the timed part over the saturation rate.
        seed: of the arrival pattern.
        logs: folder for the servers' logs.
    """

    engine: Engine
    workload: Workload
    replay: Replay
    load: float
    seed: int
    logs: Path

    @contextmanager
    def server(self, policy: str) -> Iterator[EngineServer]:
        """A fresh server, stopped at the end."""
        say(f"{policy}: starting the server ...")
        with self.engine.server(policy, self.logs / f"server-{policy}.log") as server:
            yield server

    def measure_saturation(self, server: EngineServer) -> Saturation:
        """Keep the queue of an fcfs server full for a while, and leave its cache empty."""
        endless = itertools.cycle(self.workload.timed)
        requests = list(itertools.islice(endless, self.saturation_requests))
        return self.limit(self._closed_loop(server, requests, "saturation"))

    @property
    def saturation_requests(self) -> int:
        """Requests that it takes to tell the server's limit."""
        return max(SATURATION_REQUESTS, 8 * self.engine.max_running)

    def learn(self, server: EngineServer) -> list[Outcome]:
        """Run the learning part with a full queue, and leave the radix cache empty."""
        if not self.workload.learning:
            return []
        outcomes = self._closed_loop(server, self.workload.learning, "learning")
        _require_success(outcomes)
        return outcomes

    def run_timed(self, server: EngineServer, rate_rps: float) -> list[Outcome]:
        """Send the timed part at ``rate_rps``."""
        work = self.workload
        arrivals = poisson_arrivals(seed=self.seed, requests=len(work.timed), rate_rps=rate_rps)

        async def drive() -> list[Outcome]:
            async with Client.connect(server.url, work, self.replay) as client:
                return await client.open_loop(
                    work.timed, arrivals, Progress("timed", len(work.timed))
                )

        return asyncio.run(drive())

    def _closed_loop(
        self, server: EngineServer, requests: Sequence[Request], name: str
    ) -> list[Outcome]:
        """Keep the queue full until all requests are done, then empty the radix cache."""

        async def drive() -> list[Outcome]:
            async with Client.connect(server.url, self.workload, self.replay) as client:
                progress = Progress(name, len(requests))
                places = QUEUE * self.engine.max_running
                outcomes = await client.closed_loop(requests, places, progress)
                await client.flush_cache()
                return outcomes

        return asyncio.run(drive())

    def limit(self, outcomes: Sequence[Outcome]) -> Saturation:
        """The server's limit, from a run with a full queue."""
        return saturation(outcomes, self.workload.mean_output_tokens)


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        limit: the measured saturation.
        runs: outcomes of the timed requests, per policy.
        kept: how to use the server that was left running; empty if none was.
    """

    limit: Saturation
    runs: dict[str, list[Outcome]]
    kept: str


def run_all(bench: Bench, policies: Sequence[str], *, keep: bool) -> Comparison:
    """Run every policy; the server of the last one is kept if asked for.

    Saturation is measured once, under fcfs: while that policy's server learns, if it takes part
    and learns from enough requests, else on a server of its own, so that none is warmer.
    """
    limit: Saturation | None = None
    kept = ""
    if "fcfs" not in policies or len(bench.workload.learning) < bench.saturation_requests:
        with bench.server("fcfs") as server:
            limit = bench.measure_saturation(server)
            _say_limit(limit)
    results: dict[str, list[Outcome]] = {}
    order = sorted(policies, key=lambda policy: policy != "fcfs")
    for policy in order:
        with bench.server(policy) as server:
            learned = bench.learn(server)
            if limit is None:
                limit = bench.limit(learned)
                _say_limit(limit)
            results[policy] = bench.run_timed(server, bench.load * limit.requests_per_s)
            if keep and policy == order[-1]:
                kept = _how_to_use(server)
                server.detach()
    assert limit is not None  # the first policy in order is fcfs, or it was measured above
    return Comparison(limit, {policy: results[policy] for policy in policies}, kept)


def _say_limit(limit: Saturation) -> None:
    say(
        f"  the server's limit: {limit.tokens_per_s:.0f} output tokens/s, "
        f"{limit.requests_per_s:.1f} requests/s"
    )


def _require_success(outcomes: Sequence[Outcome]) -> None:
    errors = [o.error for o in outcomes if o.error is not None]
    if errors:
        raise RuntimeError(
            f"{len(errors)} of {len(outcomes)} requests of the learning part failed; "
            f"the first: {errors[0]}"
        )


def _how_to_use(server: EngineServer) -> str:
    return (
        f"The server stays up at {server.url} (log: {server.log_path}). Talk to it:\n"
        f"  curl {server.url}/v1/chat/completions -H 'Content-Type: application/json' "
        """-d '{"model": "default", "max_tokens": 32, """
        """"messages": [{"role": "user", "content": "Hello!"}]}'\n"""
        f"Stop it: kill {server.pid}"
    )
