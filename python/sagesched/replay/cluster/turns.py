"""One event loop of several, each in a thread of its own, of which one runs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context


class Stopped(BaseException):
    """Raised in a loop that is to end at once; nobody but `Turns` catches it."""


class Turns:
    """A loop that goes on only while `step` waits for it: a coroutine for code that is none.

    SGLang's event loop is one call that never returns; a thread holds its place in it. Two threads
    never run at the same time, so that what happens is the same every time.

    Args:
        loop: calls `pause` in each turn.
    """

    def __init__(self, loop: Callable[[], None]) -> None:
        self._loop = loop
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._stop = False
        self.ended = False
        context = copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._main,), daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Until the loop pauses or ends.

        Raises:
            BaseException: what the loop raised.
        """
        self._turn.release()
        self._back.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def pause(self) -> None:
        """Called by the loop: let the caller of `step` go on."""
        self._back.release()
        self._turn.acquire()
        if self._stop:
            raise Stopped

    def close(self) -> None:
        """End the loop, wherever it is."""
        self._stop = True
        if not self.ended:
            self._turn.release()
        self._thread.join()

    def _main(self) -> None:
        self._turn.acquire()
        try:
            if not self._stop:
                self._loop()
        except Stopped:
            pass
        except BaseException as error:
            self._error = error
        self.ended = True
        self._back.release()
