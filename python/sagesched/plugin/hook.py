"""What a hook is: a target in SGLang, our function around it, and what we rely on there."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hook:
    """One touch point, always of SGLang's kind AROUND: ``fn(original, *args, **kwargs)``.

    Attributes:
        target: dotted path of the function in SGLang.
        fn: ours; takes the original function first.
        reason: why we are there, one line, for people.
        parameters: the leading parameter names ``fn`` relies on; more may follow.
        is_async: whether the target is a coroutine function.
    """

    target: str
    fn: Callable[..., Any]
    reason: str
    parameters: tuple[str, ...]
    is_async: bool = False

    def problem(self) -> str | None:
        """Why this hook is not in force in this process, or None when it is.

        Looks at what is really bound: SGLang only logs a hook that failed to apply.
        """
        try:
            bound = pkgutil.resolve_name(self.target)
        except Exception as error:
            return f"the target does not exist ({type(error).__name__}: {error})"
        if not any(_runs(layer, self.fn) for layer in _layers(bound)):
            return "the target exists but our function is not bound around it"
        return self.mismatch(inspect.unwrap(bound))

    def mismatch(self, original: Callable[..., Any]) -> str | None:
        """How the target's signature differs from what ``fn`` relies on, or None."""
        names = tuple(inspect.signature(original).parameters)
        if names[: len(self.parameters)] != self.parameters:
            return f"expected parameters {self.parameters}, found {names}"
        if inspect.iscoroutinefunction(original) != self.is_async:
            return f"expected {'an async' if self.is_async else 'a plain'} function"
        return None


def _layers(function: Any) -> Iterator[Any]:
    """The function and everything it wraps, outermost first."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _runs(layer: Any, fn: Callable[..., Any]) -> bool:
    """Whether this wrapper's closure holds ``fn``."""
    cells = getattr(layer, "__closure__", None) or ()
    return any(_content(cell) is fn for cell in cells)


def _content(cell: Any) -> Any:
    """What a closure's cell holds; None for an empty one."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
