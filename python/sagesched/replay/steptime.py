"""How long an engine step takes: what the virtual clock advances by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Step:
    """The work of one forward pass.

    Attributes:
        decode_requests: requests that produce their next token by decoding.
        decode_kv_tokens: KV tokens these attend to, summed.
        prefill_tokens: prompt tokens computed (a prefix from the radix cache is not).
        prefill_attention: token pairs attended to by them: sum of n * (prefix + n / 2).
        prefill_requests: requests whose prompt, or a chunk of it, is computed.
        moved_kv_tokens: KV tokens moved between host and device before the pass (policies that
            preempt by swapping).
    """

    decode_requests: int = 0
    decode_kv_tokens: int = 0
    prefill_tokens: int = 0
    prefill_attention: float = 0.0
    prefill_requests: int = 0
    moved_kv_tokens: int = 0


class StepTime(Protocol):
    """A step-time model.

    A model may also have ``overhead_s``, the part of every step that the overlap schedule hides
    behind the device's work, and ``request_overhead_s``, what a request takes outside the scheduler
    (HTTP, tokenizer, detokenizer). Both are 0 where they are absent.

    Attributes:
        name: for the report, such as ``llama-3.1-8b on h100``.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    def seconds(self, step: Step) -> float:
        """Duration of a step; finite and above 0."""
        ...


@dataclass(frozen=True)
class Overlapped:
    """A model where the host works ahead: its share of every step is hidden."""

    model: StepTime

    @property
    def name(self) -> str:
        """That of the model."""
        return self.model.name

    def seconds(self, step: Step) -> float:
        """What the device takes."""
        return self.model.seconds(step) - float(getattr(self.model, "overhead_s", 0.0))


@dataclass(frozen=True)
class Scaled:
    """The same engine on a machine that is ``speed`` times as fast."""

    model: StepTime
    speed: float

    @property
    def name(self) -> str:
        """That of the model."""
        return f"{self.model.name}, {self.speed:g} times as fast"

    @property
    def overhead_s(self) -> float:
        """The host's share of a step."""
        return float(getattr(self.model, "overhead_s", 0.0)) / self.speed

    @property
    def request_overhead_s(self) -> float:
        """Outside the scheduler, where nothing changes."""
        return float(getattr(self.model, "request_overhead_s", 0.0))

    def seconds(self, step: Step) -> float:
        """What the machine takes."""
        return self.model.seconds(step) / self.speed


def as_scheduled(model: StepTime, overlap: bool) -> StepTime:
    """The model of an engine with that schedule; what the clock goes by, and the lower bound."""
    return Overlapped(model) if overlap else model
