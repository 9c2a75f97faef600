"""CPU time of our code on the event loop, stretch by stretch: from one await to the next.

CPU time of the thread and not wall time, so that other programs on the same cores do not count.
SGLang's own functions inside our hooks are left out, and so is Python's garbage collection, which
runs wherever it falls due, whoever made the garbage: it is noted for itself.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Function = Callable[..., Any]
Meter = Callable[[], AbstractContextManager[None]]

seconds: dict[str, list[float]] = defaultdict(list)
"""What was measured, by name; cleared by whoever starts a measurement."""

total = 0.0
"""All of it since the process began."""

COLLECTION = "garbage collection"
COLLECTION_ELSEWHERE = "garbage collection in another thread"

_left_out = 0.0  # seconds of this thread in SGLang's own functions so far


@contextmanager
def _stretch(name: str) -> Iterator[None]:
    global total
    start, before = time.thread_time(), _left_out
    try:
        yield
    finally:
        taken = time.thread_time() - start - (_left_out - before)
        total += taken
        seconds[name].append(taken)


@contextmanager
def _elsewhere() -> Iterator[None]:
    global _left_out
    start, before = time.thread_time(), _left_out
    try:
        yield
    finally:  # a hook of ours inside counts for itself, and here once
        _left_out = before + time.thread_time() - start


def note_collections() -> None:
    """Note every garbage collection from now on; this thread's are left out elsewhere."""
    this, open_ = threading.get_ident(), contextlib.ExitStack()

    def note(phase: str, info: dict[str, int]) -> None:
        mine = threading.get_ident() == this
        if phase == "start":
            open_.enter_context(_collection(mine))
        else:
            open_.close()

    gc.callbacks.append(note)


@contextmanager
def _collection(mine: bool) -> Iterator[None]:
    global _left_out
    start, before = time.thread_time(), _left_out
    try:
        yield
    finally:
        taken = time.thread_time() - start
        seconds[COLLECTION if mine else COLLECTION_ELSEWHERE].append(taken)
        if mine:
            _left_out = before + taken


def timed(name: str, function: Function) -> Function:
    """The same function, its stretches noted under `name`."""
    return _metered(function, lambda: _stretch(name))


def timed_hook(name: str, function: Function) -> Function:
    """The same for a hook's function, which is told SGLang's original first."""

    @functools.wraps(function)
    def around(original: Function, *args: Any, **kwargs: Any) -> Any:
        return function(_metered(original, _elsewhere), *args, **kwargs)

    if not inspect.iscoroutinefunction(function):
        return timed(name, around)

    @functools.wraps(function)
    async def around_coroutine(original: Function, *args: Any, **kwargs: Any) -> Any:
        return await around(original, *args, **kwargs)

    return timed(name, around_coroutine)


def _metered(function: Function, meter: Meter) -> Function:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await _stepped(function(*args, **kwargs), meter)

        return coroutine

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with meter():
            return function(*args, **kwargs)

    return plain


@types.coroutine
def _stepped(work: Coroutine[Any, Any, Any], meter: Meter) -> Generator[Any, Any, Any]:
    """Run a coroutine as ``await`` does, with the meter on while it runs and off while it waits."""
    step: Callable[[], Any] = functools.partial(work.send, None)
    while True:
        try:
            with meter():
                waits_for = step()
        except StopIteration as end:
            return end.value
        try:
            step = functools.partial(work.send, (yield waits_for))
        except BaseException as error:  # a cancellation, too: the coroutine's affair
            step = functools.partial(work.throw, error)
