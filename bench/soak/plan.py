"""Who asks for what, and what becomes of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cpu_engine.eos_at import EosAt, eos_at_params
from cpu_engine.make_model import EOS_ID

ANSWER, STREAM, ABORT, HANG_UP = "answer", "stream", "abort", "hang up"
SHARES = {ANSWER: 0.5, STREAM: 0.25, ABORT: 0.125, HANG_UP: 0.125}
"""Of the requests: served at once, served as a stream, aborted with ``/abort_request``, and left by
their client."""
LONG_SHARE = 0.3
SHORT_TOKENS, LONG_TOKENS = (1, 8), (20, 100)
PATIENCE_S = 1.5
"""Mean time until a client loses its patience; a quarter of them lose it at once."""
TOPICS = ("rain", "an owl", "winter", "the sea", "a clock", "bread", "maps", "a train", "copper")


@dataclass
class Ask:
    """One request, and how it ended.

    Attributes:
        number: among all.
        kind: one of ``SHARES``.
        prompt: its text; no two are equal.
        tokens: output tokens it is to have.
        patience_s: of an impatient one, from the moment it is sent.
        status: HTTP status, 0 where there is none.
        produced: output tokens that were reported last, -1 for none.
        reason: SGLang's finish reason, "" for none.
        error: what went wrong on the way.
        ended: the server's last word was heard, or the client had left.
    """

    number: int
    kind: str
    prompt: str
    tokens: int
    patience_s: float = 0.0
    status: int = 0
    produced: int = field(default=-1)
    reason: str = ""
    error: str = ""
    ended: bool = False

    @property
    def rid(self) -> str:
        """Its id on the server; none begins with another, since an abort ends all that do."""
        return f"soak-{self.number:09}"

    @property
    def streams(self) -> bool:
        """Whether it is answered token by token; every other one that is left."""
        return self.kind == STREAM or (self.kind in (ABORT, HANG_UP) and self.number % 2 == 0)

    def body(self) -> dict[str, Any]:
        """Of its HTTP request."""
        return {
            "rid": self.rid,
            "text": self.prompt,
            "stream": self.streams,
            "custom_logit_processor": EosAt.to_str(),
            "sampling_params": {
                "max_new_tokens": 400,
                "temperature": 0.0,
                "custom_params": eos_at_params(self.tokens, eos=EOS_ID),
            },
        }


def asks(count: int, seed: int) -> Iterator[Ask]:
    """The requests in the order in which they come."""
    rng = random.Random(seed)
    kinds, weights = list(SHARES), list(SHARES.values())
    for number in range(count):
        topic = rng.choice(TOPICS)
        is_long = rng.random() < LONG_SHARE
        about = f"Write at length about {topic}" if is_long else f"One word for {topic}"
        yield Ask(
            number,
            rng.choices(kinds, weights)[0],
            f"{about}. {number}",
            rng.randint(*(LONG_TOKENS if is_long else SHORT_TOKENS)),
            0.0 if rng.random() < 0.25 else rng.expovariate(1 / PATIENCE_S),
        )
