"""What the rest of a request costs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real

MAX_COEFFICIENT = 1e30
"""Upper bound of a coefficient: keeps every index finite."""

TYPICAL_HELD_TOKENS = 1000.0
"""KV tokens of a running request, prompt and half of its output, in ordinary chat traffic."""
PREFILL_TOKENS_IN_AN_EMPTY_STEP = 150.0
"""Prompt tokens prefilled in the time of one decode step, plus one for each request in the batch:
an 8B model on an H100 takes 40 us a prompt token, 7 ms a step at 64 requests and 23 ms at 400 with
their KV (175 and 575 tokens; a roofline, to be calibrated per engine)."""


@dataclass(frozen=True)
class CostModel:
    """Coefficients of the remaining cost of a request; the unit of cost is the caller's.

    A request with prompt ``I``, cached prefix ``h``, age ``a`` and output length ``O`` (all in
    tokens) still costs::

        token*(O-a) + memory*((O^2-a^2)/2 + I*(O-a)) + prefill*(I-h)

    Attributes:
        token: per output token still to come.
        memory: per KV token held for one decode step.
        prefill: per prompt token that is not in the prefix cache.

    The default is the published cost (SageSched, arXiv 2603.07917, section 3.2).

    Raises:
        TypeError: a coefficient is not a number.
        ValueError: a coefficient is negative, not finite or above 1e30, or all are 0.
    """

    token: float = 0.0
    memory: float = 1.0
    prefill: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        if not (self.token or self.memory or self.prefill):
            raise ValueError("CostModel: all coefficients are 0; at least one must be positive")

    @classmethod
    def of_engine(
        cls, pool_tokens: int, slots: int, prefilled_in_a_step: float | None = None
    ) -> CostModel:
        """The cost by the shares of an engine's two scarce things that a request takes.

        One step of a request that holds ``x`` KV tokens takes ``1/slots`` of the running batch
        and ``x/pool_tokens`` of the memory; in KV tokens that is ``pool_tokens/slots + x``. So
        where slots are scarce the cost is linear in the output, where memory is scarce it is the
        published one, and nobody has to say which. While prompt tokens are prefilled the whole
        batch waits: the cost of a step of everybody in it, over the prompt tokens that could be
        prefilled in the time of one step, which grows with the batch.

        Args:
            pool_tokens: KV tokens the engine can hold.
            slots: requests it can run at once.
            prefilled_in_a_step: prompt tokens that are prefilled in the time of one decode step of
                ``typical_batch``, where that was measured.
        """
        slots = max(slots, 1)
        per_step = pool_tokens / slots
        batch = typical_batch(pool_tokens, slots)
        if prefilled_in_a_step is None:
            prefilled_in_a_step = PREFILL_TOKENS_IN_AN_EMPTY_STEP + batch
        batch_step = batch * (per_step + TYPICAL_HELD_TOKENS)
        return cls(per_step, 1.0, batch_step / max(prefilled_in_a_step, 1.0))

    def remaining(
        self, output_len: float, age: float = 0.0, prompt_len: float = 0.0, cached_len: float = 0.0
    ) -> float:
        """Cost from ``age`` to ``output_len``, all in tokens.

        A ``cached_len`` above ``prompt_len`` counts as ``prompt_len``.
        """
        tokens = output_len - age
        held = tokens * ((output_len + age) / 2 + prompt_len)
        uncached = prompt_len - min(cached_len, prompt_len)
        return self.token * tokens + self.memory * held + self.prefill * uncached


def typical_batch(pool_tokens: int, slots: int) -> float:
    """Requests that run at once under load: as many as slots, or as memory, allow."""
    return max(1.0, min(float(slots), pool_tokens / TYPICAL_HELD_TOKENS))


def _check(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Reals, too
        raise TypeError(f"CostModel.{name} is {value!r}; it must be a number")
    if not 0 <= value <= MAX_COEFFICIENT:  # type: ignore[operator]
        raise ValueError(f"CostModel.{name} is {value!r}; it must lie between 0 and 1e30")
