"""What a run of the replay leaves: a few numbers per request, and a coarse time line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """The engine over time, a few hundred samples.

    Attributes:
        at_s: [t] virtual seconds from the start.
        waiting: [t] requests in the queue.
        running: [t] requests in the batch.
        kv_use: [t] share of the KV pool in use, 0..1.
    """

    at_s: Floats
    waiting: Ints
    running: Ints
    kv_use: Floats


@dataclass(frozen=True)
class RunResult:
    """One policy on one trace. Per-request arrays [n] are in order of arrival; times in seconds.

    Attributes:
        arrival_s: from the start of the trace.
        first_s: when the first output token was out.
        last_s: when the last one was.
        max_gap_s: longest time between two output tokens in a row.
        prompt_tokens, output_tokens: lengths; the output is what was produced.
        true_tokens: what the trace said should be produced.
        cluster: [n] index into ``clusters``.
        preemptions: by the policy.
        retractions: by SGLang, for want of KV memory.
        clusters: names of the classes.
        tenant: [n] index into ``tenants``.
        tenants: who sent requests; "" is nobody known.
        refused: requests SGLang refused (longer than pool or context), not in the arrays.
        prefill_tokens: prompt tokens computed.
        cached_tokens: prompt tokens taken from the radix cache, at first admission.
        recomputed_tokens: tokens computed again after a preemption or retraction.
        steps: forward passes.
        fallbacks: errors of the policy under test, after which stock order was used.
        timeline: the engine over time.
        digest: of every request's times and counts; equal for equal runs.
        wall_s: real seconds the replay took (not part of the digest).
        notes: anything a reader of the report should know.
        sent: requests per replica, where there are several.
    """

    arrival_s: Floats
    first_s: Floats
    last_s: Floats
    max_gap_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    true_tokens: Ints
    cluster: Ints
    preemptions: Ints
    retractions: Ints
    clusters: tuple[str, ...]
    tenant: Ints
    tenants: tuple[str, ...]
    refused: int
    prefill_tokens: int
    cached_tokens: int
    recomputed_tokens: int
    steps: int
    fallbacks: int
    timeline: Timeline
    digest: str
    wall_s: float
    notes: tuple[str, ...] = ()
    sent: tuple[int, ...] = ()

    @property
    def ttlt_s(self) -> Floats:
        """[n] time to last token."""
        return self.last_s - self.arrival_s

    @property
    def ttft_s(self) -> Floats:
        """[n] time to first token."""
        return self.first_s - self.arrival_s

    @property
    def cut(self) -> int:
        """Requests whose output the context, the pool or ``max_new_tokens`` cut short."""
        return int((self.output_tokens < self.true_tokens).sum())

    @property
    def prefix_hit(self) -> float:
        """Share of the prompt tokens that came from the radix cache, at first admission."""
        computed = self.prefill_tokens - self.recomputed_tokens
        return self.cached_tokens / max(1, self.cached_tokens + computed)

    def tpot_s(self, start: int = 0) -> Floats:
        """Time per output token after the first, of requests ``start`` on with more than one."""
        tokens = self.output_tokens[start:]
        decoding = (self.last_s - self.first_s)[start:]
        more = tokens > 1
        return np.asarray(decoding[more] / (tokens[more] - 1), dtype=np.float64)


@dataclass(frozen=True)
class Row:
    """One line of ``--json``: a policy at a load on a seed. The names are a contract."""

    policy: str
    predictor: str
    load: float
    seed: int
    n: int
    mean_ttlt_s: float
    p50_ttlt_s: float
    p95_ttlt_s: float
    p99_ttlt_s: float
    max_ttlt_s: float
    mean_ttft_s: float
    p99_ttft_s: float
    mean_tpot_s: float
    p99_tpot_s: float
    max_stall_s: float
    throughput_rps: float
    throughput_mid80_rps: float
    preemptions: int
    retractions: int
    recomputed_tokens: int
    prefix_hit: float
    lower_bound_mean_ttlt_s: float
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """See `label`."""
        return label(self.policy, str(self.extra.get("balance", "")))


def label(policy: str, balance: str) -> str:
    """A line of the tables: a policy, and how requests are sent to several replicas of it."""
    return f"{policy}, {balance}" if balance else policy


def summarise(
    result: RunResult,
    *,
    policy: str,
    predictor: str,
    load: float,
    seed: int,
    lower_bound_mean_ttlt_s: float,
    skip: float = 0.0,
    balance: str = "",
) -> Row:
    """The row of a run.

    Args:
        balance: how requests were sent to replicas; empty for one engine.
        skip: share of the first arrivals whose times do not count (the warm-up), 0..1; counts
            and rates are of the whole run.

    Raises:
        ValueError: nothing was served.
    """
    start = int(skip * len(result.arrival_s))
    ttlt, ttft = result.ttlt_s[start:], result.ttft_s[start:]
    if not len(ttlt):
        raise ValueError(f"{policy}: no request was served ({result.refused} refused)")
    ends = np.sort(result.last_s)
    low, high = int(0.1 * len(ends)), int(0.9 * len(ends))
    middle = ends[min(high, len(ends) - 1)] - ends[low]
    tpot = result.tpot_s(start)
    p50, p95, p99 = np.percentile(ttlt, [50, 95, 99]).tolist()
    return Row(
        policy=policy,
        predictor=predictor,
        load=load,
        seed=seed,
        n=len(result.arrival_s),
        mean_ttlt_s=float(ttlt.mean()),
        p50_ttlt_s=p50,
        p95_ttlt_s=p95,
        p99_ttlt_s=p99,
        max_ttlt_s=float(ttlt.max()),
        mean_ttft_s=float(ttft.mean()),
        p99_ttft_s=float(np.percentile(ttft, 99)),
        mean_tpot_s=float(tpot.mean()) if len(tpot) else 0.0,
        p99_tpot_s=float(np.percentile(tpot, 99)) if len(tpot) else 0.0,
        max_stall_s=float(result.max_gap_s[start:].max()),
        throughput_rps=len(ends) / float(ends[-1] - result.arrival_s[0] or 1.0),
        throughput_mid80_rps=(high - low) / float(middle) if middle > 0 else 0.0,
        preemptions=int(result.preemptions.sum()),
        retractions=int(result.retractions.sum()),
        recomputed_tokens=result.recomputed_tokens,
        prefix_hit=result.prefix_hit,
        lower_bound_mean_ttlt_s=lower_bound_mean_ttlt_s,
        extra={
            "refused": result.refused,
            "cut": result.cut,
            "fallbacks": result.fallbacks,
            "digest": result.digest,
            **({"balance": balance, "sent": list(result.sent)} if balance else {}),
        },
    )
