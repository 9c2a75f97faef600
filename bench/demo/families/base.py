"""What a task family is: a way to phrase a kind of request, and the law of its output length."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ..law import LengthLaw

DocumentMaker = Callable[[random.Random, str], str]
"""Makes the long text that a prompt carries, about the given topic."""


@dataclass(frozen=True)
class Phrasing:
    """One wording of a request: a template of its family filled with a topic."""

    family: str
    template: int
    topic: int


@dataclass(frozen=True)
class Family:
    """A kind of task that users send.

    Attributes:
        name: a short word for tables.
        weight: its share of the requests.
        law: law of the true output length, the same for all phrasings of the family.
        templates: wordings with a ``{t}`` for the topic, and a ``{document}`` if ``document``
            is set. Even positions may be learned from, odd ones are held out.
        topics: what goes into ``{t}``; split in the same way.
        document: makes the text that the prompt is about.
    """

    name: str
    weight: float
    law: LengthLaw
    templates: tuple[str, ...]
    topics: tuple[str, ...]
    document: DocumentMaker | None = None

    def phrasings(self, *, held_out: bool) -> list[Phrasing]:
        """All pairs of a template and a topic on one side of the split.

        A held-out phrasing shares neither its template nor its topic with any other side's.
        """
        parity = int(held_out)
        return [
            Phrasing(self.name, template, topic)
            for template in range(parity, len(self.templates), 2)
            for topic in range(parity, len(self.topics), 2)
        ]

    def render(self, phrasing: Phrasing, rng: random.Random) -> str:
        """The prompt's text; ``rng`` makes the document, if the family has one."""
        topic = self.topics[phrasing.topic]
        document = self.document(rng, topic) if self.document else ""
        return self.templates[phrasing.template].format(t=topic, document=document)
