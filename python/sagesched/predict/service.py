"""Predictions for an asyncio server: one worker thread, a deadline, and nothing that can fail.

The event loop never computes: it queues a prompt and waits, at most `deadline_s`. The worker owns
the predictor, so learning and predicting need no locks, and it works through the queue in order,
so an outcome that comes early still finds the vector of its prompt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sagesched.lengths import LengthDistribution
from sagesched.predict.about import NOTHING_KNOWN, About
from sagesched.predict.operations import Alias, Answer, Finish, Forget, Operation, Progress, Prompt
from sagesched.predict.predictor import LengthPredictor
from sagesched.predict.stats import Counters, ServiceStats
from sagesched.predict.store.options import HistoryOptions
from sagesched.predict.token_ids import Content
from sagesched.predict.worker import Worker

_OUTCOMES_PER_PROMPT = 16  # room in the queue for outcomes when no more prompts are taken


class PredictionService:
    """Thread-safe; usable from any number of event loops.

    Args:
        make_predictor: builds the predictor, in the worker thread (loading takes time).
        deadline_s: seconds after which `predict` gives up; the prompt is still learned.
        max_pending: prompts that may wait; beyond that `predict` returns None at once.
        history: the file that the history is kept in; memory only where absent.
    """

    def __init__(
        self,
        make_predictor: Callable[[], LengthPredictor],
        deadline_s: float = 0.05,
        max_pending: int = 4096,
        history: HistoryOptions | None = None,
    ) -> None:
        if not deadline_s > 0.0 or max_pending < 1:
            raise ValueError(
                "PredictionService: deadline_s must be > 0 and max_pending >= 1, "
                f"got {deadline_s!r} and {max_pending!r}"
            )
        self._deadline_s = deadline_s
        self._max_pending = max_pending
        self._counters = Counters()
        self._worker = Worker(make_predictor, self._counters, history)
        self._missed = False

    async def predict(
        self, key: str, text: Content, about: About = NOTHING_KNOWN, waited_s: float = 0.0
    ) -> LengthDistribution | None:
        """Predict the output length of a prompt, and remember the prompt under `key`.

        Args:
            waited_s: what of the deadline has passed already.

        Returns:
            The distribution, or None: not ready yet, overloaded, over the deadline, an error in
            the predictor. Each is counted; none raises.
        """
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        # Nobody waits for the loading; these prompts are learned from, too.
        left = max(0.0, self._deadline_s - waited_s)
        patience = left if self.ready() and not self._is_behind() else 0.0
        prompt = Prompt(key, text, time.monotonic() + patience, loop, answer, about)
        accepted = self._worker.queue.put(prompt, self._max_pending)
        if not (accepted and patience):
            self._counters.add("overloaded" if self.ready() else "not_ready")
            return None
        timer = loop.call_later(patience, self._expire, answer)
        try:
            prediction = await answer
        finally:
            timer.cancel()
        if prediction is not None:
            self._counters.add("predictions")
        return prediction

    def remember(self, key: str, text: Content, about: About = NOTHING_KNOWN) -> None:
        """Take in a prompt without predicting, for an outcome to come; from an event loop only."""
        loop = asyncio.get_running_loop()
        self._tell(Prompt(key, text, 0.0, loop, loop.create_future(), about))

    def finish(self, key: str, output_tokens: int, finished: bool) -> None:
        """Report an outcome, see `LengthPredictor.record`; the key is forgotten. Never blocks."""
        self._tell(Finish(key, output_tokens, finished))

    def progress(self, key: str, output_tokens: int) -> None:
        """Report that a request has come so far and goes on; see `LengthPredictor.note_running`."""
        self._tell(Progress(key, output_tokens))

    def forget(self, key: str) -> None:
        """Drop a key without learning anything: not a real request."""
        self._tell(Forget(key))

    def alias(self, new_key: str, old_key: str) -> None:
        """Let `new_key` share the prompt of `old_key`: several samples of one prompt."""
        self._tell(Alias(new_key, old_key))

    def snapshot(self) -> ServiceStats:
        """The counters now."""
        return self._counters.snapshot(self._worker)

    def ready(self) -> bool:
        """Whether the predictor has been built and the service is open."""
        return self._worker.ready.is_set()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Block until the predictor is built or has failed to build; `ready()` after that."""
        self._worker.started.wait(timeout)
        return self.ready()

    def close(self, timeout: float = 5.0) -> None:
        """Stop the worker; `predict` returns None from then on. May be called again."""
        self._worker.stop(timeout)

    def _tell(self, operation: Operation) -> None:
        if not self._worker.queue.put(operation, self._max_pending * _OUTCOMES_PER_PROMPT):
            self._counters.add("overloaded")

    def _is_behind(self) -> bool:
        """Whether the worker missed a deadline and still has prompts from then to work through.

        Requests that are sent one after the other (a list of prompts) would each wait in vain.
        """
        self._missed = self._missed and self._worker.pending > 0
        return self._missed

    def _expire(self, answer: Answer) -> None:
        if not answer.done():
            self._missed = True
            self._counters.add("deadline_misses")
            answer.set_result(None)
