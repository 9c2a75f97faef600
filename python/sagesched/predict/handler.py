"""What the worker does with the operations it takes from the queue. Runs in one thread."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from sagesched.lengths import LengthDistribution
from sagesched.predict.about import About
from sagesched.predict.base import Vectors
from sagesched.predict.errors import ErrorLog
from sagesched.predict.operations import (
    Alias,
    Finish,
    Forget,
    Learn,
    Operation,
    Progress,
    Prompt,
    answer_all,
)
from sagesched.predict.predictor import LengthPredictor
from sagesched.predict.stats import Counters
from sagesched.predict.store.record import Record, storable

MAX_REMEMBERED_KEYS = 65_536
"""Prompts that may wait for their outcome; about 1 kB each."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Remembered(NamedTuple):
    """A prompt that waits for its outcome."""

    vector: Vectors
    about: About
    text: str | None


class Archive(Protocol):
    """Where outcomes are kept beyond the life of the process."""

    @property
    def keeps_text(self) -> bool:
        """Whether records should have their text."""

    def append(self, record: Record) -> None:
        """Keep a record. Never blocks, never raises."""


class OperationHandler:
    """The predictor, and the vectors of the prompts whose outcome is not known yet.

    An exception in the predictor costs the operations concerned their result, nothing else.
    """

    def __init__(
        self,
        predictor: LengthPredictor,
        counters: Counters,
        errors: ErrorLog,
        max_keys: int = MAX_REMEMBERED_KEYS,
        archive: Archive | None = None,
    ) -> None:
        self._predictor = predictor
        self._counters = counters
        self._errors = errors
        self._max_keys = max_keys
        self._archive = archive
        self._prompts: OrderedDict[str, Remembered] = OrderedDict()  # by key, oldest first

    @property
    def remembered_keys(self) -> int:
        """Number of prompts that wait for their outcome."""
        return len(self._prompts)

    @property
    def history_size(self) -> int:
        """Number of outcomes learned and still in the history."""
        return self._predictor.history_size

    def handle(self, operations: Sequence[Operation]) -> None:
        """Carry out operations in their order; neighbouring prompts together."""
        for is_prompt, group in groupby(operations, lambda op: isinstance(op, Prompt)):
            if is_prompt:
                self._answer([op for op in group if isinstance(op, Prompt)])
                continue
            for operation in group:
                self._learn(operation)

    def _answer(self, prompts: list[Prompt]) -> None:
        vectors = self._tolerant(
            "embedding a prompt",
            self._embed,
            prompts,
        )
        for prompt, vector in zip(prompts, vectors, strict=True):
            if vector is not None:
                text = prompt.text if self._keeps_text() else None
                kept = storable(text) if isinstance(text, str) else None
                # Not a view of the whole batch.
                self._remember(prompt.key, Remembered(vector.copy(), prompt.about, kept))
        # Who missed the deadline meanwhile has been answered by it.
        now = time.monotonic()
        waiting = [
            (prompt, vector)
            for prompt, vector in zip(prompts, vectors, strict=True)
            if vector is None or prompt.deadline > now
        ]
        usable = [(prompt, vector) for prompt, vector in waiting if vector is not None]
        predictions = self._tolerant("predicting", self._predict, usable)
        answers = dict(zip((prompt for prompt, _ in usable), predictions, strict=True))
        answer_all([(prompt, answers.get(prompt)) for prompt, _ in waiting])

    def _embed(self, prompts: Sequence[Prompt]) -> list[Vectors]:
        options = [prompt.about.options for prompt in prompts]
        return list(self._predictor.embed([prompt.text for prompt in prompts], options))

    def _predict(self, batch: Sequence[tuple[Prompt, Vectors]]) -> list[LengthDistribution]:
        vectors = np.stack([vector for _, vector in batch])
        groups = [prompt.about.group for prompt, _ in batch]
        tenants = [prompt.about.tenant for prompt, _ in batch]
        return self._predictor.predict_from(vectors, groups, tenants)

    def _learn(self, operation: Operation) -> None:
        match operation:
            case Finish(key):
                prompt = self._prompts.pop(key, None)
                if prompt is None:
                    self._counters.add("unknown")
                else:
                    self._record(prompt, operation)
            case Progress(key, tokens):
                self._note_running(key, tokens)
            case Forget(key):
                self._prompts.pop(key, None)
                self._predictor.forget_running(key)
            case Alias(new_key, old_key):
                prompt = self._prompts.get(old_key)
                if prompt is None:
                    self._counters.add("unknown")
                else:
                    self._remember(new_key, prompt)
            case Learn(records, done):
                try:
                    self._counters.add("history_shared", sum(map(self.learn_stored, records)))
                finally:
                    done.set()

    def _note_running(self, key: str, tokens: int) -> None:
        prompt = self._prompts.get(key)
        if prompt is None:
            return
        about = prompt.about
        try:
            self._predictor.note_running(key, prompt.vector, tokens, about.group, about.tenant)
        except Exception as error:
            self._errors.note("noting how far a request has come", error)

    def learn_stored(self, record: Record) -> bool:
        """Learn an outcome that is in the archive already; False where it tells nothing."""
        try:
            return self._predictor.record(
                record.vector, record.output_tokens, record.finished, record.group, record.tenant
            )
        except Exception:
            self._counters.add("errors")
            return False

    def _keeps_text(self) -> bool:
        return self._archive is not None and self._archive.keeps_text

    def _record(self, prompt: Remembered, outcome: Finish) -> None:
        try:
            learned = self._predictor.record(
                prompt.vector,
                outcome.output_tokens,
                outcome.finished,
                prompt.about.group,
                prompt.about.tenant,
                outcome.key,
            )
        except Exception as error:
            self._errors.note("recording an outcome", error)
            return
        if not learned:
            return
        self._counters.add("recorded")
        if not outcome.finished:
            self._counters.add("censored")
        if self._archive is not None:
            self._archive.append(
                Record(
                    prompt.vector,
                    outcome.output_tokens,
                    outcome.finished,
                    prompt.about.group,
                    prompt.about.tenant,
                    prompt.text,
                )
            )

    def _remember(self, key: str, prompt: Remembered) -> None:
        if self._prompts.pop(key, None):  # a key used again becomes the newest
            self._predictor.forget_running(key)
        self._prompts[key] = prompt
        if len(self._prompts) > self._max_keys:
            oldest, _ = self._prompts.popitem(last=False)
            self._predictor.forget_running(oldest)
            self._counters.add("dropped_keys")

    def _tolerant(
        self,
        doing: str,
        work: Callable[[Sequence[_Item]], Sequence[_Result]],
        items: Sequence[_Item],
    ) -> list[_Result | None]:
        """Results of a batch; if it fails, one by one, and None for those that fail alone."""
        if not items:
            return []
        try:
            return list(work(items))
        except Exception as error:
            if len(items) == 1:
                self._errors.note(doing, error)
                return [None]
        return [result for item in items for result in self._tolerant(doing, work, [item])]
