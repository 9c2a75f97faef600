"""The task families of the built-in workload."""

from __future__ import annotations

from .base import Family, Phrasing
from .code import CODE
from .essays import ESSAYS
from .facts import FACTS
from .reasoning import REASONING
from .small_talk import SMALL_TALK
from .summaries import SUMMARIES
from .text_tasks import TEXT_TASKS

FAMILIES: tuple[Family, ...] = (
    FACTS,
    TEXT_TASKS,
    SMALL_TALK,
    SUMMARIES,
    CODE,
    REASONING,
    ESSAYS,
)

__all__ = ["FAMILIES", "Family", "Phrasing"]
