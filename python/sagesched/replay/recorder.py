"""Per-request times while a run goes on, and what becomes of them at its end."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sagesched.replay.result import RunResult, Timeline
from sagesched.replay.trace import TraceRequest

MOST_SAMPLES = 512


@dataclass(slots=True)
class Live:
    """A request between its arrival and its end.

    Attributes:
        number: arrival number.
        output_tokens: its true length.
        first_token: id of the first token it will produce; the following ones count up.
        prompt_tokens: length of its prompt.
        last_token_s: when its latest token was out; NaN before the first one.
        produced: tokens that are out.
        longest_gap_s: between two of its tokens so far.
        started: whether its prompt has been looked up in the radix cache.
        swapped_tokens: KV tokens that were moved away and must be moved back.
        last_length: KV tokens in the step that gives its last token.
    """

    number: int
    output_tokens: int
    first_token: int
    prompt_tokens: int
    last_token_s: float = float("nan")
    produced: int = 0
    longest_gap_s: float = 0.0
    started: bool = False
    swapped_tokens: int = 0
    last_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.cut(self.output_tokens)

    def cut(self, output_tokens: int) -> None:
        """It produces at most so many tokens."""
        self.output_tokens = min(self.output_tokens, output_tokens)
        self.last_length = self.prompt_tokens + self.output_tokens - 1


class Recorder:
    """Some 90 bytes per request that has ended, whatever the length of the trace."""

    def __init__(self) -> None:
        self.arrival = array("d")
        self.first = array("d")
        self.last = array("d")
        self.gap = array("d")
        self.prompt = array("q")
        self.output = array("q")
        self.truth = array("q")
        self.cluster = array("q")
        self.preemptions = array("q")
        self.retractions = array("q")
        self.tenant = array("q")
        self._clusters: dict[str, int] = {}
        self._tenants: dict[str, int] = {}
        self.ended = 0
        self.refused = 0
        self.prefill_tokens = 0
        self.cached_tokens = 0
        self.recomputed_tokens = 0
        self.steps = 0
        self._samples: list[tuple[float, int, int, float]] = []
        self._every = 1

    def arrived(self, request: TraceRequest) -> int:
        """Note an arrival; returns its number."""
        for column in (self.first, self.last):
            column.append(float("nan"))
        for counter in (self.output, self.preemptions, self.retractions):
            counter.append(0)
        self.gap.append(0.0)
        self.arrival.append(request.arrival_s)
        self.prompt.append(len(request.prompt))
        self.truth.append(request.output_tokens)
        self.cluster.append(self._clusters.setdefault(request.cluster, len(self._clusters)))
        self.tenant.append(self._tenants.setdefault(request.tenant, len(self._tenants)))
        return len(self.arrival) - 1

    def token(self, live: Live, now: float) -> None:
        """A request has a new token."""
        gap = now - live.last_token_s
        if gap > live.longest_gap_s:
            live.longest_gap_s = gap
        elif gap != gap:
            self.first[live.number] = now
        live.last_token_s = now
        live.produced += 1

    def end(self, live: Live, request: Any, now: float, preemptions: int) -> None:
        """A request has all its tokens; a ``RuntimeError`` if not each of them was noted."""
        if live.produced != len(request.output_ids):
            raise RuntimeError(
                f"replay: request {live.number} ended with {len(request.output_ids)} tokens, "
                f"{live.produced} were seen"
            )
        number = live.number
        self.last[number] = now
        self.gap[number] = live.longest_gap_s
        self.output[number] = len(request.output_ids)
        self.preemptions[number] = preemptions
        # SGLang counts a release by the policy as a retraction, too.
        self.retractions[number] = request.retraction_count - preemptions
        self.ended += 1

    def refuse(self) -> None:
        """SGLang turned a request away."""
        self.ended += 1
        self.refused += 1

    def step(self, at: float, waiting: int, running: int, kv_use: Any) -> None:
        """A forward pass; a bounded number of them is kept, evenly spread."""
        self.steps += 1
        if self.steps % self._every:
            return
        self._samples.append((at, waiting, running, kv_use()))
        if len(self._samples) == MOST_SAMPLES:
            self._samples = self._samples[1::2]
            self._every *= 2

    def result(self, *, fallbacks: int, wall_s: float, notes: tuple[str, ...]) -> RunResult:
        """What the run leaves."""
        last = np.array(self.last)
        served = np.isfinite(last)

        def column(values: array[Any]) -> Any:
            return np.array(values)[served]

        columns = {
            "arrival_s": column(self.arrival),
            "first_s": column(self.first),
            "last_s": column(self.last),
            "max_gap_s": column(self.gap),
            "prompt_tokens": column(self.prompt),
            "output_tokens": column(self.output),
            "true_tokens": column(self.truth),
            "cluster": column(self.cluster),
            "preemptions": column(self.preemptions),
            "retractions": column(self.retractions),
        }
        digest = hashlib.sha256()
        for values in columns.values():
            digest.update(values.tobytes())
        samples = self._samples or [(0.0, 0, 0, 0.0)]
        at, waiting, running, kv_use = (np.array(part) for part in zip(*samples, strict=True))
        return RunResult(
            **columns,
            clusters=tuple(self._clusters),
            tenant=column(self.tenant),
            tenants=tuple(self._tenants),
            refused=self.refused,
            prefill_tokens=self.prefill_tokens,
            cached_tokens=self.cached_tokens,
            recomputed_tokens=self.recomputed_tokens,
            steps=self.steps,
            fallbacks=fallbacks,
            timeline=Timeline(at, waiting, running, kv_use),
            digest=digest.hexdigest()[:16],
            wall_s=wall_s,
            notes=notes,
        )
