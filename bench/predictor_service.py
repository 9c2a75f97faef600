"""Requests a second and latency of `sagesched predictor serve` on loopback; two minutes.

    PYTHONPATH=. python -m bench.predictor_service [--markdown FILE]

The real process with a full history of 10,000 requests is asked over keep-alive connections that
each wait for their answer. Answers are verified first: the contract's fields, and that short and
long tasks are told apart. Client and service share the machine: some of the time is the client's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from bench.bench_index import commit
from sagesched.bench.machine import hardware
from sagesched.bench.report import table

RECORDS = 10_000
PROMPT_CHARS = 2_000  # about 500 tokens
TASKS = {"Classify the sentiment of this review": 4, "Write a long story about this": 900}
WORDS = ("river", "engine", "market", "garden", "letter", "winter", "signal", "copper", "theory")
HEALTH_EVERY_S = 0.02
LOADS = ((32, 1, 100.0), (32, 1, 300.0), (1, 1, 0.0), (8, 1, 0.0), (32, 1, 0.0), (4, 32, 0.0))
"""Connections, prompts a request, requests a second (0: as fast as they are answered)."""
FIELDS = {"size_bucket", "risk_score", "confidence_score", "fallback_level", "quantiles", "key"}


def prompt(task: str, rng: random.Random) -> str:
    """About `PROMPT_CHARS` characters."""
    text = " ".join(rng.choices(WORDS, k=PROMPT_CHARS // 7))
    return f"{task}: {text} {rng.random()}"


class Connection:
    """HTTP/1.1 over a stream, as little of it as the service's answers need."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The answer's body; its status must be 200."""
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        self._writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert length is not None
        return await self._reader.readexactly(int(length[1]))

    def close(self) -> None:
        self._writer.close()


@dataclass(frozen=True)
class Service:
    """Where it listens."""

    host: str
    port: int

    async def connect(self) -> Connection:
        return Connection(*await asyncio.open_connection(self.host, self.port))


@contextmanager
def serving() -> Iterator[Service]:
    """The real process, with the default embedder."""
    command = (sys.executable, "-m", "sagesched.cli", "predictor", "serve", "--port", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().split()[-1])
        try:
            assert url.hostname is not None
            assert url.port is not None
            yield Service(url.hostname, url.port)
        finally:
            process.terminate()


async def prepare(service: Service) -> None:
    """Fill the history, and verify what is answered."""
    while True:
        reader, writer = await asyncio.open_connection(service.host, service.port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        if (await reader.readline()).startswith(b"HTTP/1.1 200"):
            break
        await asyncio.sleep(0.05)
    connection, rng = await service.connect(), random.Random(1)
    for _ in range(0, RECORDS, 200):
        tasks = rng.choices(list(TASKS), k=200)
        outcomes = [
            {"prompt": prompt(task, rng), "output_tokens": int(TASKS[task] * rng.uniform(0.7, 1.4))}
            for task in tasks
        ]
        await connection.ask("POST", "/ingest", json.dumps(outcomes).encode())
    while json.loads(await connection.ask("GET", "/models"))["records"] < RECORDS:
        await asyncio.sleep(0.05)
    for task, tokens in TASKS.items():
        body = json.dumps({"prompt": prompt(task, rng)}).encode()
        answer = json.loads(await connection.ask("POST", "/predict", body))
        assert set(answer) >= FIELDS
        assert answer["fallback_level"] in ("neighbours", "global")
        assert 0.5 * tokens < answer["expected_output_tokens_p50"] < 2.0 * tokens, answer
    connection.close()


@dataclass(frozen=True)
class Load:
    """What was measured.

    Attributes:
        seconds: of each request, [n].
        health: of each request to /health meanwhile: the event loop's own time.
        wall_s: of all.
    """

    seconds: Sequence[float]
    health: Sequence[float]
    wall_s: float


async def load(
    service: Service, connections: int, per_request: int, rate: float, duration_s: float
) -> Load:
    """Ask for predictions of `per_request` prompts at a time over some connections.

    Each connection asks again when it has its answer, or, with a rate of requests a second, at
    random times; what is late then is measured from when it should have been sent.
    """
    rng = random.Random(connections)
    batches = [
        [{"prompt": prompt(rng.choice(list(TASKS)), rng)} for _ in range(per_request)]
        for _ in range(64)
    ]
    bodies = [json.dumps(b if per_request > 1 else b[0]).encode() for b in batches]
    until = time.perf_counter() + duration_s
    seconds: list[float] = []
    health: list[float] = []

    async def ask(method: str, path: str, into: list[float], pause_s: float) -> None:
        connection, due = await service.connect(), time.perf_counter()
        while due < until:
            due = due + rng.expovariate(1.0 / pause_s) if pause_s else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await connection.ask(method, path, rng.choice(bodies) if method == "POST" else b"")
            into.append(time.perf_counter() - due)
        connection.close()

    began, pause_s = time.perf_counter(), connections / rate if rate else 0.0
    askers = [ask("POST", "/predict", seconds, pause_s) for _ in range(connections)]
    await asyncio.gather(*askers, ask("GET", "/health", health, HEALTH_EVERY_S))
    return Load(seconds, health, time.perf_counter() - began)


def row(connections: int, per_request: int, rate: float, found: Load) -> list[str]:
    """One row of the table."""
    ms = 1000 * np.quantile(found.seconds, [0.5, 0.99])
    health = 1000 * np.quantile(found.health, [0.5, 0.99])
    predictions = len(found.seconds) * per_request / found.wall_s
    return [
        str(connections),
        str(per_request),
        f"{rate:,.0f}/s" if rate else "as fast as answered",
        f"{predictions:,.0f}",
        f"{ms[0]:.1f} ms",
        f"{ms[1]:.1f} ms",
        f"{health[0]:.1f} ms",
        f"{health[1]:.1f} ms",
    ]


async def measure(service: Service, duration_s: float) -> list[list[str]]:
    """All rows."""
    await prepare(service)
    rows = []
    for load_of in LOADS:
        await load(service, *load_of, 1.0)
        rows.append(row(*load_of, await load(service, *load_of, duration_s)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row (%(default)s)")
    options = parser.parse_args()
    with serving() as service:
        rows = asyncio.run(measure(service, options.seconds))
    head = ["connections", "prompts a request", "asked", "predictions/s", "p50", "p99"]
    head += ["/health p50 meanwhile", "p99"]
    setting = (
        f"commit {commit()}, {hardware()}; WordLlama, {RECORDS:,} records, prompts of "
        f"{PROMPT_CHARS:,} characters; client and service on the same machine"
    )
    text = f"{setting}\n\n{table(head, rows)}\n"
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
