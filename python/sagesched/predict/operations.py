"""What the event loop asks of the worker, in the order it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sagesched.lengths import LengthDistribution
from sagesched.predict.about import NOTHING_KNOWN, About
from sagesched.predict.store.record import Record
from sagesched.predict.token_ids import Content

Answer = asyncio.Future[LengthDistribution | None]
ANSWERS_A_TURN = 4


@dataclass(frozen=True, eq=False)
class Prompt:
    """Embed a prompt, remember it, and predict if the deadline allows."""

    key: str
    text: Content
    deadline: float  # time.monotonic(), seconds
    loop: asyncio.AbstractEventLoop
    answer: Answer
    about: About = NOTHING_KNOWN


@dataclass(frozen=True)
class Finish:
    """Learn an outcome."""

    key: str
    output_tokens: int
    finished: bool


@dataclass(frozen=True)
class Progress:
    """Note how far a request has come."""

    key: str
    output_tokens: int


@dataclass(frozen=True)
class Forget:
    """Drop a key."""

    key: str


@dataclass(frozen=True)
class Alias:
    """Share a remembered prompt."""

    new_key: str
    old_key: str


@dataclass(frozen=True, eq=False)
class Learn:
    """Learn outcomes that another process has seen, and say when that is done."""

    records: tuple[Record, ...]
    done: threading.Event


Operation = Prompt | Finish | Progress | Forget | Alias | Learn


def answer_all(answers: Sequence[tuple[Prompt, LengthDistribution | None]]) -> None:
    """Hand results to the event loops that wait for them, waking each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Answer, LengthDistribution | None]]] = {}
    for prompt, result in answers:
        by_loop.setdefault(prompt.loop, []).append((prompt.answer, result))
    for loop, results in by_loop.items():
        # A closed loop raises RuntimeError: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, loop, iter(results))


def _resolve(
    loop: asyncio.AbstractEventLoop, results: Iterator[tuple[Answer, LengthDistribution | None]]
) -> None:
    """A few in a turn of the loop: whoever waits for an answer goes on in the next one."""
    few = list(islice(results, ANSWERS_A_TURN))
    for answer, result in few:
        if not answer.done():  # expired, or its request cancelled
            answer.set_result(result)
    if len(few) == ANSWERS_A_TURN:
        loop.call_soon(_resolve, loop, results)
