"""What the rest of a request costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

MAX_COEFFICIENT = 1e30
"""Upper bound of a coefficient: keeps every index finite."""

DECODE_STEP_IN_PREFILL_TOKENS = 200.0
"""Prompt tokens prefilled in the time of one decode step: 175 for an 8B model on an H100 at a
batch of 64 (7 ms a step, 40 us a prompt token). To be calibrated per engine."""


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
    def of_engine(cls, pool_tokens: int, slots: int) -> CostModel:
        """The cost by the shares of an engine's two scarce things that a request takes.

        One step of a request that holds ``x`` KV tokens takes ``1/slots`` of the running batch
        and ``x/pool_tokens`` of the memory; in KV tokens that is ``pool_tokens/slots + x``. So
        where slots are scarce the cost is linear in the output, where memory is scarce it is the
        published one, and nobody has to say which. While a prompt token is prefilled the whole
        engine, worth ``pool_tokens`` a step, waits for about
        ``1/DECODE_STEP_IN_PREFILL_TOKENS`` of a step.

        Args:
            pool_tokens: KV tokens the engine can hold.
            slots: requests it can run at once.
        """
        per_step = pool_tokens / max(slots, 1)
        return cls(per_step, 1.0, pool_tokens / DECODE_STEP_IN_PREFILL_TOKENS)

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


def _check(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"CostModel.{name} is {value!r}; it must be a number")
    if not math.isfinite(value) or not 0 <= value <= MAX_COEFFICIENT:
        raise ValueError(f"CostModel.{name} is {value!r}; it must lie between 0 and 1e30")
