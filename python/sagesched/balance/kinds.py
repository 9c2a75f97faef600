"""What a chooser is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST = 1e18
"""Of any count."""


class NoReplica(RuntimeError):  # noqa: N818  # it is the state that it names
    """No replica is healthy."""


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What a replica says of itself: SGLang's ``LoadSnapshot`` or ``/v1/loads``, perhaps stale.

    Choosers ignore a report with a count or ``sequence`` that cannot be (negative, NaN, infinite);
    a rate or time that cannot be is unknown.

    Attributes:
        running: requests in the batch.
        waiting: requests in the queue.
        waiting_uncached_tokens: prompt tokens of the queue that are not in the prefix cache.
        used_tokens: KV tokens held by running requests.
        capacity_tokens: KV pool, tokens.
        max_running: most requests in a batch.
        release_per_s: KV tokens that ending requests freed lately, per second; 0 unknown.
        prefill_per_s: prompt tokens computed per second of prefill; 0 unknown.
        sequence: larger is newer; an older one, or the same again, is ignored.
        made_s: when it was made, on the clock of ``Query.sent_s``; None unknown.
    """

    running: int
    waiting: int
    waiting_uncached_tokens: int
    used_tokens: int
    capacity_tokens: int
    max_running: int
    release_per_s: float = 0.0
    prefill_per_s: float = 0.0
    sequence: int = 0
    made_s: float | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A request that needs a replica.

    Attributes:
        key: its id.
        prompt_tokens: length of its prompt, tokens, known or estimated.
        prefix: its token ids, or its bytes; what the approximate prefix table compares.
        expected_output: predicted mean output length, tokens; None unknown.
        high_output: about the 0.9 quantile of it, tokens; None unknown.
        sent_s: when it is sent, on the clock of ``ReplicaLoad.made_s``; None unknown. Only a
            chooser that does not hear of ends (``answers=False``) looks at the two.

    Predictions that cannot be (negative, NaN, infinite) are taken for unknown.

    Raises:
        ValueError: ``prompt_tokens`` cannot be.
    """

    key: str
    prompt_tokens: int
    prefix: Sequence[int] | bytes = b""
    expected_output: float | None = None
    high_output: float | None = None
    sent_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.prompt_tokens <= MOST:
            said = f"Query.prompt_tokens = {self.prompt_tokens!r}"
            raise ValueError(f"{said}: expected a number from 0 to {MOST:g}")
