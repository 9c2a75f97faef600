"""Replicas, a chooser and a trace, in the order of virtual time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sagesched.balance import Chooser, Query, ReplicaLoad
from sagesched.lengths import LengthDistribution
from sagesched.replay.clock import REAL_PERF_COUNTER, VirtualClock
from sagesched.replay.cluster.config import ClusterConfig
from sagesched.replay.cluster.replica import ReplicaRun
from sagesched.replay.recorder import Recorder
from sagesched.replay.result import RunResult
from sagesched.replay.trace import TraceRequest

HIGH = 0.9
"""Quantile of a predicted length that a chooser is told beside the mean."""


class CurrentClock(VirtualClock):
    """Reads the clock of the replica whose turn it is."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.of = clock

    def read(self) -> float:
        """Seconds."""
        return self.of.now

    def read_ns(self) -> int:
        """Nanoseconds."""
        return int(self.of.now * 1e9)


class ClusterRun:
    """One chooser on one trace.

    The replica that is furthest behind takes the next step, and a request is sent before any step
    that begins after it: so whatever happens, happens in the order of time, and when a request is
    sent every replica has got at least as far.

    Args:
        replicas: idle.
        recorder: theirs.
        config: how late the chooser hears of loads and of ends.
    """

    def __init__(
        self,
        replicas: Sequence[ReplicaRun],
        recorder: Recorder,
        config: ClusterConfig,
    ) -> None:
        self.replicas = replicas
        self.coming: TraceRequest | None = None
        self._recorder = recorder
        self._config = config
        self._loads: list[deque[tuple[float, ReplicaLoad]]] = [deque() for _ in replicas]
        self._ends: list[tuple[float, int]] = []
        self._reports = 0
        self._running = replicas[0]
        for one in replicas:
            one.left = self._left
            one.sampled = self._sample

    def go(self, trace: Iterator[TraceRequest], chooser: Chooser) -> RunResult:
        """Replay it."""
        started = REAL_PERF_COUNTER()
        clock = CurrentClock(self.replicas[0].clock)
        try:
            with clock.installed():
                for one in self.replicas:
                    clock.of = one.clock
                    one.reset()
                    one.control.install()
                    one.turns.step()  # to its first pause
                self._report_all()
                self.coming = next(trace)
                self._go(trace, chooser, clock)
                for one in self.replicas:
                    clock.of = one.clock
                    one.closing = True
                    while not one.turns.ended:
                        one.turns.step()
        finally:
            for one in self.replicas:
                one.turns.close()
        return self._result(REAL_PERF_COUNTER() - started)

    def _go(self, trace: Iterator[TraceRequest], chooser: Chooser, clock: CurrentClock) -> None:
        while True:
            busy = [one for one in self.replicas if self._goes_on(one)]
            first = min(busy, key=lambda one: one.clock.now, default=None)
            coming = self.coming
            if coming is not None:
                due = first.due(coming) if first else self.replicas[0].due(coming)
                if first is None or due <= first.clock.now:
                    self._send(coming, due, chooser)
                    self.coming = next(trace, None)
                    continue
            if first is None:
                return
            clock.of, self._running = first.clock, first
            first.turns.step()
            self._report(self.replicas.index(first))

    def _goes_on(self, one: ReplicaRun) -> bool:
        if self.coming is None:  # it finishes what it has, or finds that it cannot
            return bool(one.live or one.inbox)
        return not one.sleeps()

    def _send(self, request: TraceRequest, due: float, chooser: Chooser) -> None:
        self._tell(chooser, due)
        number = self._recorder.arrived(request)
        predicted = self.replicas[0].predict(number, request)
        query = _query(number, request, predicted, due)
        index = chooser.choose(query)
        chooser.sent(index, query)
        self.replicas[index].send(number, request, predicted)

    def _tell(self, chooser: Chooser, now: float) -> None:
        """What is known by then of replicas' ends and reports."""
        while self._ends and self._ends[0][0] <= now - self._config.end_delay_s:
            chooser.finished(str(heapq.heappop(self._ends)[1]))
        for index, loads in enumerate(self._loads):
            newest = None
            while loads and loads[0][0] <= now - self._config.load_delay_s:
                newest = loads.popleft()[1]
            if newest is not None:
                chooser.observe(index, newest)

    def _report_all(self) -> None:
        for index in range(len(self.replicas)):
            self._report(index)

    def _report(self, index: int) -> None:
        one = self.replicas[index]
        self._reports += 1
        self._loads[index].append((one.clock.now, one.load(self._reports)))

    def _left(self, number: int) -> None:
        heapq.heappush(self._ends, (self._running.clock.now, number))

    def _sample(self) -> None:
        running, everybody = self._running, self.replicas
        waiting = sum(len(one.scheduler.waiting_queue) for one in everybody)
        live = sum(len(one.live) for one in everybody)

        def kv_use() -> float:
            return sum(one.kv_use() for one in everybody) / len(everybody)

        self._recorder.step(running.situation.now_s, waiting, live - waiting, kv_use)

    def _result(self, wall_s: float) -> RunResult:
        fallbacks = sum(one.control.failures + one.plugin_failures() for one in self.replicas)
        causes = [one.control.first_failure for one in self.replicas if one.control.first_failure]
        name = self.replicas[0].policy.name
        notes = tuple(f"{name} raised {cause}" for cause in dict.fromkeys(causes))
        result = self._recorder.result(fallbacks=fallbacks, wall_s=wall_s, notes=notes)
        return replace(result, sent=tuple(one.requests for one in self.replicas))


def _query(
    number: int, request: TraceRequest, predicted: LengthDistribution | None, sent_s: float
) -> Query:
    return Query(
        key=str(number),
        prompt_tokens=len(request.prompt),
        prefix=request.prompt,
        expected_output=None if predicted is None else predicted.mean(),
        high_output=None if predicted is None else predicted.quantile(HIGH),
        sent_s=sent_s,
    )
