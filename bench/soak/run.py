"""One soak: a server, the requests, and what is left."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.soak.checks import Soak
from bench.soak.client import send_all, session
from bench.soak.leftovers import Leftovers, leftovers
from bench.soak.memory import MemoryWatch, growth
from bench.soak.plan import Ask, asks
from cpu_engine.server import EngineServer

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """What a soak is like.

    Attributes:
        requests: how many.
        ranks: tensor-parallel ranks.
        at_once: requests under way at any time.
        slots: requests that run at once.
        pool_tokens: KV pool; with fewer than the running ones need, they are retracted.
        history: finished requests to predict from; full early, so that memory stays as it is.
        seed: of the requests.
        mixed: prefill shares its steps with decoding, so that running requests give way.
    """

    requests: int = 20_000
    ranks: int = 2
    at_once: int = 128
    slots: int = 32
    pool_tokens: int = 700
    history: int = 2000
    seed: int = 0
    mixed: bool = False

    def arguments(self, policy: str = "gittins") -> list[str]:
        """Of the server: more requests admitted than memory holds."""
        return [
            *("--schedule-policy", policy, "--enable-metrics"),
            *("--enable-custom-logit-processor", "--tp-size", str(self.ranks)),
            *("--max-running-requests", str(self.slots)),
            *("--max-total-tokens", str(self.pool_tokens)),
            *("--schedule-conservativeness", "0.05"),
            *(("--enable-mixed-chunk",) if self.mixed else ()),
        ]

    def environment(self) -> dict[str, str | None]:
        """Of the server."""
        return {
            "PYTHONPATH": str(ROOT),
            "SAGESCHED_DEBUG_ORDER": "1",
            "SAGESCHED_HISTORY": str(self.history),
            **({"SAGESCHED_DIAL": "4"} if self.mixed else {}),  # victims may be larger
            "SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION": "8",
            # Not what is measured: for the last 1,024 shapes of a batch oneDNN keeps kernels, and
            # torch descriptions of 260 kB each; every thread of the C library has a heap.
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0",
            "LRU_CACHE_CAPACITY": "16",
            "MALLOC_ARENA_MAX": "1",
        }


class TellingServer(EngineServer):
    """A server that tells what it still holds."""

    def command(self) -> list[str]:
        """See `EngineServer`."""
        replaced = {"sglang.launch_server": "bench.soak.launch"}
        return [replaced.get(part, part) for part in super().command()]


def soak(model: Path, options: Options, *, quiet: bool = False) -> Soak:
    """Start a server and do it.

    Raises:
        EngineError: the server did not start.
    """
    everybody = list(asks(options.requests, options.seed))
    with TellingServer(model, options.arguments(), options.environment()) as server:
        assert server.pid is not None
        count = Counted(options.requests, quiet)
        start = time.monotonic()
        with MemoryWatch(server.pid, count.share) as memory:
            left = asyncio.run(_load(server.url, everybody, options.at_once, count))
        wall_s = time.monotonic() - start
        log = server.log_path.read_text(errors="replace")
        alive = server.running
    grown = growth(memory.samples)
    return Soak(everybody, wall_s, options.ranks, left, log, alive, grown, mixed=options.mixed)


def stock_growth(
    model: Path, options: Options, *, quiet: bool = False
) -> Mapping[str, tuple[int, int]]:
    """The same requests under stock fcfs: bytes early and late, by process.

    Raises:
        EngineError: the server did not start.
    """
    everybody = list(asks(options.requests, options.seed))
    arguments, environment = options.arguments("fcfs"), options.environment()
    with EngineServer(model, arguments, environment) as server:
        assert server.pid is not None
        count = Counted(options.requests, quiet)
        with MemoryWatch(server.pid, count.share) as memory:
            asyncio.run(send_all(server.url, everybody, options.at_once, count.ended))
    return growth(memory.samples)


class Counted:
    """How many have ended; says so a hundred times."""

    def __init__(self, requests: int, quiet: bool) -> None:
        self._requests, self._quiet = requests, quiet
        self._ended = itertools.count(1)
        self._now = 0

    def ended(self, _: Ask) -> None:
        """One more."""
        self._now = next(self._ended)
        if not self._quiet and self._now % max(1, self._requests // 100) == 0:
            print(f"\r{self._now:,} of {self._requests:,} ", end="", file=sys.stderr, flush=True)

    def share(self) -> float:
        """Of all, 0..1."""
        return self._now / self._requests


async def _load(url: str, everybody: list[Ask], at_once: int, count: Counted) -> Leftovers:
    await send_all(url, everybody, at_once, count.ended)
    async with session() as client:
        return await leftovers(client, url)
