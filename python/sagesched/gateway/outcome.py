"""How long an answer was: read from its last bytes as they pass."""

from __future__ import annotations

import re

MOST_KEPT = 16_384

# A quote inside a JSON string is escaped, so no text of a model can look like these fields.
_COUNT = re.compile(rb'(?<!\\)"completion_tokens"\s*:\s*(\d{1,15})(?!\d)')
_REASON = re.compile(rb'(?<!\\)"finish_reason"\s*:\s*(?:\{\s*"type"\s*:\s*)?"(\w+)"')


class Tail:
    """The last bytes of an answer."""

    def __init__(self) -> None:
        self._kept = b""

    def add(self, chunk: bytes) -> None:
        """The next bytes."""
        self._kept = (self._kept + chunk)[-MOST_KEPT:]

    def outcome(self) -> tuple[int, bool] | None:
        """Output tokens, and whether the model ended by itself; None when it does not tell.

        OpenAI streams tell only with ``stream_options.include_usage``.
        """
        counts = _COUNT.findall(self._kept)
        if not counts:
            return None
        reasons = _REASON.findall(self._kept)
        return int(counts[-1]), bool(reasons) and reasons[-1] in (b"stop", b"tool_calls")
