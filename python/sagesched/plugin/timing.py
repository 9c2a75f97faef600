"""How long our hooks take in a scheduler's steps, without what SGLang does inside them.

The clock is only reported, never decided by. It is bound when this module is imported, so that a
replay's virtual time leaves it alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import Any


class Spent:
    """Seconds in hooks, in this process; ``on`` once a scheduler of ours runs here.

    Attributes:
        seconds: in all that is ours.
        inside: of these, in what SGLang calls inside of what a hook calls.
    """

    def __init__(self) -> None:
        self.on = False
        self.seconds = self.inside = 0.0


spent = Spent()


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Around a function of ours that SGLang calls inside of what a hook calls."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not spent.on:
            return function(*args, **kwargs)
        begun = perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds = perf_counter() - begun
            spent.seconds += seconds
            spent.inside += seconds

    return run


def timed(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Around a hook of a scheduler: count the time that is its own."""

    @functools.wraps(hook)
    def run(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not spent.on:
            return hook(original, *args, **kwargs)
        inside = 0.0

        def stock(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            begun = perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                inside += perf_counter() - begun

        begun = perf_counter()
        try:
            return hook(stock, *args, **kwargs)
        finally:
            spent.seconds += perf_counter() - begun - inside

    return run
