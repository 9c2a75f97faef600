"""Our failure must not fail a request: count it, warn once, go on as stock SGLang would."""

from __future__ import annotations

import logging
import traceback

from sagesched.plugin.metrics import count_fallback

logger = logging.getLogger("sagesched")
_warned: set[str] = set()
_counted = 0


def count() -> int:
    """Fallbacks so far, in this process."""
    return _counted


def report(cause: str, error: BaseException) -> None:
    """Count a fallback; the first of each cause is logged.

    ``cause`` is one of ``metrics.LABELS``, so that the counter's label set stays small. An
    exception's message may carry a part of a prompt, so only its type and its frames are logged.
    """
    global _counted
    _counted += 1
    count_fallback(cause)
    if cause in _warned:
        return
    _warned.add(cause)
    logger.warning(
        "sagesched: %s failed with %s; what it concerns is served in stock order. Counted in "
        "sagesched_fallbacks_total, not logged again.\n%s",
        cause,
        type(error).__name__,
        "".join(traceback.format_tb(error.__traceback__)),
    )
