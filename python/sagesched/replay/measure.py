"""Durations of a running server's steps, seen from outside through streamed tokens.

A decode step is the time between two tokens of a request while the batch does not change. A
prefill step is the stall that it causes in the stream of another request: that leaves out what
HTTP, tokenizer and detokenizer take, and an idle engine's quicker start. What the prompt's own
first token takes beyond the stall and the wait for a step boundary is the latency of a request
outside the scheduler; what of it comes before the scheduler and what after cannot be told apart.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from sagesched.replay.probe import TIMEOUT_S, Event, Server
from sagesched.replay.probe_plan import Prompts
from sagesched.replay.server_info import CalibrationError, ServerInfo
from sagesched.replay.steptime import Step

FIRST_TOKEN, LAST_TOKEN = 100, 1_000
"""Prompts are drawn from these ids: every vocabulary has them, and few are special."""
LEAST_WINDOW = 12
"""Tokens of every request over which a decode step is averaged, at least."""
WITNESS_PROMPT, WITNESS_TOKENS, BEFORE, AFTER = 16, 2_000, 12, 12
"""The stream that a prefill stalls; tokens of it that tell its pace on either side of the stall."""
SETTLED = 3
"""Tokens after the stall that do not count: results may lag by a step or two."""
NEAREST = 5
"""Tokens on either side of the stall that tell when it was."""
SAME_STEP = 0.3
"""First tokens closer than this share of the stall came from one step."""
ATTEMPTS = 4
FOREIGN_TOKENS = 64


class Meter:
    """Measures one server.

    Args:
        server: where to send probes.
        info: its settings.
        seed: of the prompts.

    Attributes:
        outside_s: of every prefill of one prompt, seconds that its first token took outside the
            scheduler.
    """

    def __init__(self, server: Server, info: ServerInfo, seed: int) -> None:
        self._server = server
        self._info = info
        self._random = random.Random(seed)
        self.outside_s: list[float] = []

    def decode(self, plan: Prompts, tokens: int) -> tuple[Step, float]:
        """A decode step with all requests of ``plan`` running.

        Raises:
            CalibrationError: they do not run together, or there is other traffic.
        """
        for _ in range(ATTEMPTS):
            before = self._begin()
            interval = max(1, min(8, plan.requests // 4))
            events = self._server.generate(self._draw(plan), tokens, interval).events()
            self._refuse_foreign(before, plan, events)
            measured = decode_step(plan, events)
            if measured is not None:
                return measured
            tokens *= 2
        raise CalibrationError(
            f"{self._server.url}: {plan.requests} requests of {plan.tokens} tokens never ran "
            "together; choose a smaller --max-batch or --max-prompt"
        )

    def prefill(self, plan: Prompts) -> tuple[Step, float] | None:
        """One prefill step with all prompts of ``plan``; None if they never shared a step."""
        for _ in range(ATTEMPTS):
            measured = self._stall(plan)
            if measured is not None:
                return measured
        return None

    def _stall(self, plan: Prompts) -> tuple[Step, float] | None:
        self._begin()
        with Witness(self._server, self._draw(Prompts(1, WITNESS_PROMPT))) as witness:
            witness.wait(BEFORE)
            prompts = self._draw(plan)
            # At a random moment of a step: the wait for its end is half a step on average.
            time.sleep(self._random.uniform(0.0, 2 * witness.last_gap_s()))
            stream = self._server.generate(prompts, 1)
            events = stream.events()
            witness.wait(SETTLED + AFTER)
        first, last = events[0].at_s, max(event.at_s for event in events)
        step_s, stall_s = stall(witness.events, stream.sent_s, last)
        if stall_s <= 0 or last - first > SAME_STEP * stall_s:  # also where jitter hides the stall
            return None
        # In a mixed step the stream gets its own token too: the stall is all but one step.
        seconds = stall_s + (step_s if self._info.mixed else 0.0)
        if plan.requests == 1:
            wait = (1.5 if self._info.overlap else 0.5) * step_s
            self.outside_s.append(first - stream.sent_s - seconds - wait)
        return self._prefill_step(plan, events), seconds

    def _prefill_step(self, plan: Prompts, events: Sequence[Event]) -> Step:
        cached = [event.cached for event in events if event.finished]
        new = sum(plan.tokens - prefix for prefix in cached)
        attention = sum((plan.tokens - prefix) * (plan.tokens + prefix) / 2 for prefix in cached)
        riding = WITNESS_PROMPT + BEFORE if self._info.mixed else 0
        return Step(int(bool(riding)), riding, new, attention, plan.requests)

    def _draw(self, plan: Prompts) -> list[list[int]]:
        draw = self._random.randrange
        return [
            [draw(FIRST_TOKEN, LAST_TOKEN) for _ in range(plan.tokens)]
            for _ in range(plan.requests)
        ]

    def _begin(self) -> int | None:
        self._server.flush()
        return self._server.prefilled_tokens()

    def _refuse_foreign(self, before: int | None, plan: Prompts, events: list[Event]) -> None:
        """Compare what the server computed with what we sent, where it tells."""
        self._server.flush()
        after = self._server.prefilled_tokens()
        if before is None or after is None:
            return
        ours = plan.requests * plan.tokens - sum(e.cached for e in events if e.finished)
        if after - before > ours + FOREIGN_TOKENS:
            raise CalibrationError(
                f"{self._server.url} is busy: it computed {after - before} prompt tokens while "
                f"the probe sent {ours}. Calibrate on a server without other traffic."
            )


class Witness:
    """A request that streams a token per step, followed in a thread and given up at the end."""

    def __init__(self, server: Server, prompt: list[list[int]]) -> None:
        self.events: list[Event] = []
        self._stream = server.generate(prompt, WITNESS_TOKENS)
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stop = True
        self._thread.join()

    def wait(self, more: int) -> int:
        """Return the number of events once there are ``more`` than at the call's time."""
        wanted = len(self.events) + more
        deadline = time.monotonic() + TIMEOUT_S
        while len(self.events) < wanted:
            if self._error is not None:
                raise CalibrationError(f"a probe broke: {self._error}") from self._error
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise CalibrationError("a probe's stream ended before it was measured")
            time.sleep(0.001)
        return len(self.events)

    def last_gap_s(self) -> float:
        """Time between its last two events."""
        return self.events[-1].at_s - self.events[-2].at_s

    def _follow(self) -> None:
        try:
            stream: Iterator[Event] = iter(self._stream)
            for event in stream:
                self.events.append(event)
                if self._stop:
                    break
            stream.close()  # type: ignore[attr-defined]  # a generator: closes the connection
        except BaseException as error:
            self._error = error


def decode_step(plan: Prompts, events: Sequence[Event]) -> tuple[Step, float] | None:
    """The step while all requests run; None if that was shorter than ``LEAST_WINDOW`` tokens."""
    streams = [[e for e in events if e.index == i] for i in range(plan.requests)]
    if not all(streams):
        return None
    start = max(stream[0].at_s for stream in streams)
    end = min(stream[-1].at_s for stream in streams)
    steps, held = [], 0.0
    for stream in streams:
        inside = [e for e in stream if start <= e.at_s <= end]
        if len(inside) < 2 or inside[-1].tokens - inside[0].tokens < LEAST_WINDOW:
            return None
        steps.append(slope(inside))
        held += plan.tokens + (inside[0].tokens + inside[-1].tokens) / 2
    return Step(decode_requests=plan.requests, decode_kv_tokens=round(held)), float(
        np.median(steps)
    )


def slope(events: Sequence[Event]) -> float:
    """Seconds per token: of all events, by least squares, so that jitter averages out."""
    tokens = np.array([event.tokens for event in events], dtype=np.float64)
    times = np.array([event.at_s for event in events])
    return float(np.polyfit(tokens - tokens[0], times - times[0], 1)[0])


def stall(events: Sequence[Event], sent_s: float, done_s: float) -> tuple[float, float]:
    """(seconds per step, seconds lost to the probe) of a stream that a probe interrupts.

    By how much the stream is later after the probe than its pace before and after says. Medians,
    from the tokens nearest to the stall: a hiccup of the machine elsewhere must not count.
    """
    before = [e for e in events if e.at_s <= sent_s]
    after = [e for e in events if e.at_s > done_s][SETTLED:]
    if len(before) < NEAREST or len(after) < NEAREST:
        raise CalibrationError("a probe's stream was too short; run again on a server at rest")
    pairs = [*itertools.pairwise(before), *itertools.pairwise(after)]
    step_s = float(np.median([(b.at_s - a.at_s) / (b.tokens - a.tokens) for a, b in pairs]))
    lateness = [
        float(np.median([e.at_s - e.tokens * step_s for e in part]))
        for part in (before[-NEAREST:], after[:NEAREST])
    ]
    return step_s, lateness[1] - lateness[0]
