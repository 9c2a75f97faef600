"""What the report needs of a run, small enough to be sent between processes and kept for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sagesched.replay.result import Floats, Ints, RunResult, Timeline

LEVELS: Floats = np.concatenate(
    [np.linspace(0.0, 0.98, 99), 1.0 - np.geomspace(0.018, 0.0005, 24), [1.0]]
)
"""Levels of the quantiles kept: each per cent, and finer in the tail."""

OUTPUT_EDGES = (1, 33, 129, 513, 2049, 8193)
PROMPT_EDGES = (1, 129, 513, 2049, 8193, 32769)
"""First length of each bucket, tokens; the last bucket is open."""

SAMPLED_REQUESTS = 4000
KEPT_CLASSES = 200


@dataclass(frozen=True)
class Group:
    """Some of a run's requests: a class or a bucket of lengths. Times in seconds."""

    name: str
    n: int
    mean_ttlt_s: float
    p99_ttlt_s: float
    mean_ttft_s: float


@dataclass(frozen=True)
class Details:
    """One run, in a few thousand numbers. The warm-up is left out, but for the time line.

    Attributes:
        ttlt_s: [q] time to last token at the quantiles ``LEVELS``.
        ttft_s: [q] time to first token, likewise.
        sample_ttlt_s: of at most ``SAMPLED_REQUESTS`` requests, evenly chosen: the same requests
            for every policy on the same trace.
        timeline: the engine over time.
        outputs: by output length, shortest first; empty buckets are left out.
        prompts: by prompt length, likewise.
        classes: the ``KEPT_CLASSES`` largest classes, by name; the rest together.
        tenants: of those who sent requests likewise; nothing where all are one's.
        refused: requests that SGLang refused.
        fallbacks: errors of the policy, after which stock order was used.
        wall_s: real seconds the run took.
        notes: of the harness.
    """

    ttlt_s: Floats
    ttft_s: Floats
    sample_ttlt_s: Floats
    timeline: Timeline
    outputs: tuple[Group, ...]
    prompts: tuple[Group, ...]
    classes: tuple[Group, ...]
    tenants: tuple[Group, ...]
    refused: int
    fallbacks: int
    wall_s: float
    notes: tuple[str, ...]


def details_of(result: RunResult, skip: float = 0.0) -> Details:
    """The details of a run that served at least one request after its warm-up.

    Args:
        skip: share of the first arrivals that do not count (the warm-up), 0..1.
    """
    counted = slice(int(skip * len(result.arrival_s)), None)
    times = _Times(result.ttlt_s[counted], result.ttft_s[counted])
    stride = -(-len(times.ttlt_s) // SAMPLED_REQUESTS)
    return Details(
        ttlt_s=np.quantile(times.ttlt_s, LEVELS),
        ttft_s=np.quantile(times.ttft_s, LEVELS),
        sample_ttlt_s=times.ttlt_s[::stride].copy(),
        timeline=result.timeline,
        outputs=tuple(_buckets(times, result.output_tokens[counted], OUTPUT_EDGES)),
        prompts=tuple(_buckets(times, result.prompt_tokens[counted], PROMPT_EDGES)),
        classes=tuple(_named(times, result.cluster[counted], result.clusters, "class", "classes")),
        tenants=tuple(_named(times, result.tenant[counted], result.tenants, "tenant", "tenants")),
        refused=result.refused,
        fallbacks=result.fallbacks,
        wall_s=result.wall_s,
        notes=result.notes,
    )


@dataclass(frozen=True)
class _Times:
    ttlt_s: Floats
    ttft_s: Floats

    def group(self, name: str, members: Ints) -> Group:
        ttlt = self.ttlt_s[members]
        return Group(
            name=name,
            n=len(members),
            mean_ttlt_s=float(ttlt.mean()),
            p99_ttlt_s=float(np.quantile(ttlt, 0.99)),
            mean_ttft_s=float(self.ttft_s[members].mean()),
        )


def _buckets(times: _Times, lengths: Ints, edges: tuple[int, ...]) -> Iterator[Group]:
    bucket = np.searchsorted(edges, lengths, side="right") - 1
    for k, first in enumerate(edges):
        members = np.flatnonzero(bucket == k)
        if len(members):
            last = f"{edges[k + 1] - 1:,}" if k + 1 < len(edges) else ""
            yield times.group(f"{first:,} to {last}" if last else f"{first:,} and more", members)


def _named(
    times: _Times, member_of: Ints, names: tuple[str, ...], one: str, many: str
) -> Iterator[Group]:
    """The largest by name, then the rest; nothing if there is only one."""
    counts = np.bincount(member_of, minlength=len(names))
    if np.count_nonzero(counts) < 2:
        return
    largest = sorted(range(len(names)), key=lambda k: (-counts[k], names[k]))[:KEPT_CLASSES]
    for k in sorted(largest, key=lambda k: names[k]):
        if counts[k]:
            yield times.group(names[k] or f"(no {one})", np.flatnonzero(member_of == k))
    others = np.flatnonzero(~np.isin(member_of, largest))
    if len(others):
        yield times.group(f"(all other {many})", others)
