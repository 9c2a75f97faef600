"""Shortest uncached prompt first."""

from __future__ import annotations

from typing import Any

from sagesched.replay.policies.base import Policy
from sagesched.replay.policies.notes import uncached_prompt


class PromptOnly(Policy):
    """What no prediction at all achieves: a short prompt is quickly prefilled, holds little memory,
    and often has a short answer.
    """

    name = "prompt-only"
    source = "folklore; SGLang has it without the cache as shortest-prefill-first"

    def key(self, request: Any) -> tuple[int, int]:
        """Prompt tokens to compute, then arrival."""
        return uncached_prompt(self.situation, request), self.situation.known(request).number
