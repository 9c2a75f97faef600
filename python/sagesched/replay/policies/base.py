"""What a policy under replay is: data, and up to four small functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sagesched.lengths import LengthDistribution

Release = Literal["soft", "recompute", "swap"]
"""What becomes of a preempted request's KV: published to the radix tree (evictable, usually still
there on resume); given up as SGLang gives it up in a retraction, which drops that of the output and
leaves the prompt's in the tree until it is evicted, kinder than an engine without a radix cache; or
kept elsewhere and moved back on resume."""


@dataclass(slots=True)
class Known:
    """What is known of a request at its arrival, beside SGLang's own ``Req``.

    Attributes:
        number: arrival number, from 0.
        arrival_s: virtual seconds.
        predicted: its output-length distribution; None for a policy that asks for none.
        output_tokens: the truth, for yardsticks only (``uses = "truth"``); 0 for all others.
        cluster: its class in the trace.
        preemptions: how often it was preempted so far.
    """

    number: int
    arrival_s: float
    predicted: LengthDistribution | None
    output_tokens: int
    cluster: str
    preemptions: int = 0


class Situation:
    """What a policy may look at beside the requests; the harness keeps it up to date.

    Attributes:
        now_s: virtual time, seconds. A policy that ranks of a parallel group must agree on would
            not use it; published baselines do.
        step: number of forward passes so far.
        processed_tokens: prompt and output tokens processed so far.
        slots: most requests that run at once.
        pool_tokens: KV pool, tokens.
        step_s: duration of a decode step with all slots busy and the pool half full, seconds.
        token_s: mean seconds of one request's decode step so far (``step_s`` at the start).
        cached_prefix: looks up a waiting request's radix-cache hit of now, tokens (SGLang's own
            look-up; some microseconds).
    """

    def __init__(self, slots: int, pool_tokens: int, step_s: float) -> None:
        self.slots = slots
        self.pool_tokens = pool_tokens
        self.step_s = step_s
        self.token_s = step_s
        self.now_s = 0.0
        self.step = 0
        self.processed_tokens = 0
        self.cached_prefix: Callable[[Any], int] = lambda request: 0
        self._known: dict[str, Known] = {}

    def known(self, request: Any) -> Known:
        """What is known of a request (an SGLang ``Req``)."""
        return self._known[request.rid]

    def enter(self, rid: str, known: Known) -> None:
        """Note a request at its arrival."""
        self._known[rid] = known

    def leave(self, rid: str) -> None:
        """Forget a finished request."""
        del self._known[rid]


LIMITS: Mapping[str, tuple[float, float]] = {
    "most_victims": (1.0, 1e9),
    "margin": (1.0, math.inf),
    "refresh_tokens": (1.0, 1e9),
    "quantum_tokens": (1.0, 1e9),
    "scale_tokens": (1.0, 1e9),
}
"""Least and most of settings that several policies have."""

WHOLE = {"most_victims", "levels"}
"""Settings that count things."""


class Policy:
    """One policy in one run: made anew for each.

    In SGLang's ``Req``: ``len(req.output_ids)`` tokens were produced (one less than the truth under
    overlap), ``len(req.origin_input_ids)`` prompt tokens, ``req.rid``.

    Attributes:
        name: what ``--policies`` calls it.
        source: where it was published, and in one line what was left open there.
        flag: the ``--schedule-policy`` that SGLang's scheduler runs underneath.
        uses: ``nothing``, a ``distribution`` of the output length (from ``--predictor``), or the
            ``truth`` (yardsticks).
        own_predictor: stands in for ``--predictor shipped``: a published policy comes with its own.
        release: what becomes of the KV of a victim.
        swap_is_free: with ``release = "swap"``: moving KV takes no time.
        settings: what ``--set KEY=VALUE`` may change, with defaults.
        limits: least and most of a setting; others are at least 0.
        variables: environment variables that carry settings, for the policies of the plug-in.
        choices: of a setting that is no number there, what its variable says for 0, 1, ...
    """

    name: ClassVar[str]
    source: ClassVar[str]
    flag: ClassVar[str] = "fcfs"
    uses: ClassVar[Literal["nothing", "distribution", "truth"]] = "nothing"
    own_predictor: ClassVar[str] = ""
    release: ClassVar[Release] = "soft"
    swap_is_free: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, float]] = {}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = LIMITS
    variables: ClassVar[Mapping[str, str]] = {}
    choices: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __init__(self, situation: Situation, settings: Mapping[str, float] | None = None) -> None:
        self.situation = situation
        self.values = {**self.settings, **(settings or {})}

    @classmethod
    def knows(cls, predictor: str) -> str:
        """What it is told of output lengths, where ``--predictor`` says that."""
        if cls.uses == "nothing":
            return "none"
        if cls.uses == "truth":  # a yardstick, whatever the predictor
            return "oracle"
        return cls.own_predictor or predictor if predictor == "shipped" else predictor

    @classmethod
    def check_settings(cls, settings: Mapping[str, float]) -> None:
        """Raise a ``ValueError`` that lists what may be set, if something else is."""
        unknown = sorted(set(settings) - set(cls.settings))
        if unknown:
            known = ", ".join(cls.settings) or "nothing"
            raise ValueError(
                f"policy {cls.name} has no setting {', '.join(unknown)}; it has: {known}"
            )
        for key, value in settings.items():
            least, most = cls.limits.get(key, (0.0, math.inf))
            if not least <= value <= most:
                raise ValueError(
                    f"policy {cls.name}: {key} is {value:g}; it must lie in {least:g}..{most:g}"
                )
            if (key in WHOLE or key in cls.choices) and value != int(value):
                raise ValueError(f"policy {cls.name}: {key} is {value:g}; it must be whole")

    def key(self, request: Any) -> Any:
        """Sort key of a waiting or running request, smallest first; must not change it.

        The default says nothing: policies that only set ``flag`` leave the order to SGLang.
        """
        raise NotImplementedError

    def order(self, waiting: list[Any]) -> None:
        """Put the waiting queue in order, in place, before SGLang admits from its front."""
        if type(self).key is not Policy.key:
            waiting.sort(key=self.key)

    def victims(self, running: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
        """Running requests to preempt before this step's admission; asked every step.

        ``running`` holds unfinished requests that may be preempted.
        """
        return []

    def entered(self, request: Any) -> None:
        """A request entered the waiting queue, for the first time or after a preemption."""
