"""What a choice costs: choose, sent, finished and a report, at 8 and 64 replicas."""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Iterator

from sagesched.balance import Query, ReplicaLoad, chooser_names, make_chooser

ROUNDS, CALLS = 9, 200
SIZES = (8, 64)
PROMPT = 1000
SHARED = 500
"""Tokens of every prompt, and of its beginning that others have, too."""


def overhead_table() -> str:
    """Microseconds a request, and as a ratio to random choice."""
    names = [name for name in chooser_names() if not name.startswith("oracle")]
    found = {(name, size): request_us(name, size) for name in names for size in SIZES}
    head = [f"| chooser | {' | '.join(f'{size} replicas, us | x random' for size in SIZES)} |"]
    head.append("|---" * (1 + 2 * len(SIZES)) + "|")
    for name in names:
        cells = []
        for size in SIZES:
            cells += [
                f"{found[name, size]:.1f}",
                f"{found[name, size] / found['random', size]:.1f}",
            ]
        head.append(f"| {name} | {' | '.join(cells)} |")
    about = (
        f"Choose, sent, finished and one report for a request of {PROMPT:,} tokens, {SHARED} of "
        "them shared; median of several rounds, with 30 requests open at every replica."
    )
    return about + "\n\n" + "\n".join(head)


def request_us(name: str, replicas: int) -> float:
    """Median microseconds that all calls for a request take."""
    chooser = make_chooser(name, replicas)
    queries = _queries()
    for index in range(replicas):
        for _ in range(30):
            chooser.sent(index, next(queries))
        chooser.observe(index, _report(1))
    rounds = []
    sequence = 1
    for _ in range(ROUNDS):
        batch = [next(queries) for _ in range(CALLS)]
        sequence += 1
        report = _report(sequence)
        start = time.perf_counter()
        for number, query in enumerate(batch):
            index = chooser.choose(query)
            chooser.sent(index, query)
            chooser.observe(number % replicas, report)
            chooser.finished(query.key)
        rounds.append((time.perf_counter() - start) / CALLS * 1e6)
    return statistics.median(rounds)


def _queries() -> Iterator[Query]:
    number = 0
    while True:
        number += 1
        family = number % 16
        prompt = array("q", range(1000 * family, 1000 * family + SHARED))
        prompt.extend([100_000 + number] * (PROMPT - SHARED))
        yield Query(f"r{number}", PROMPT, prompt, 200.0, 500.0)


def _report(sequence: int) -> ReplicaLoad:
    return ReplicaLoad(28, 2, 900, 14_000, 30_000, 128, 3_000.0, 25_000.0, sequence)
