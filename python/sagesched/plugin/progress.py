"""Which running requests have come so much further that the predictor should know."""

from __future__ import annotations

FROM_TOKENS = 64
"""Shorter outputs end before it matters that they run."""
MOST = 100_000
"""Requests remembered: far more than run at once, so some ended unseen."""


class Progress:
    """Remembers, for each running request, the length that was reported last."""

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}

    def has_doubled(self, rid: str, output_tokens: int) -> bool:
        """Whether the output is twice as long as when this was last true of it."""
        if output_tokens < FROM_TOKENS or output_tokens < 2 * self._reported.get(rid, 0):
            return False
        if len(self._reported) >= MOST:
            self._reported.clear()
        self._reported[rid] = output_tokens
        return True

    def end(self, rid: str) -> None:
        """The request runs no longer."""
        self._reported.pop(rid, None)
