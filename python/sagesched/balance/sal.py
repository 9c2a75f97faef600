"""SAL: to the replica that will start the request soonest.

A **reconstruction**. Of SAL (arXiv 2410.17840) we know the abstract and summaries: it is
token-aware, and it sends a request to the replica that will start it soonest, given the tokens that
are queued and the KV memory that is free. The formula below, the constants and everything about
stale reports, predictions and prefixes are ours; the constants were chosen by measurement, and
``bench/results/balance.md`` compares it with other choosers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sagesched.balance.books import Account, Sent
from sagesched.balance.checks import check_number
from sagesched.balance.counted import output_of
from sagesched.balance.kinds import MOST, Query, ReplicaLoad
from sagesched.balance.prefixed import Prefixed


@dataclass(frozen=True)
class SalConstants:
    """What measurement chose; all can be given to `make_chooser`.

    Attributes:
        output: tokens a request is taken to hold beside its prompt where no length is predicted.
            In a queue of unknown lengths each counts the running mean of predictions, which begins
            here.
        prefill_per_s: prompt tokens a second where a replica does not report it.
        release_share: share of the KV pool freed a second where a replica does not report it.
        blend: weight of a new report in the smoothed rates, above 0 and up to 1.
        fullness: seconds of waiting that a pool held full counts for: among replicas that would
            start a request at once the emptiest is chosen, and later ones find room.
        reuse: how much more than any other token a prompt token counts there that is not cached at
            the replica: kept a second time, it drives out what others would have found.
        tree_blocks: memory bound of the prefix table, per replica.

    Raises:
        ValueError: a value that makes no sense.
    """

    output: float = 512.0
    prefill_per_s: float = 10_000.0
    release_share: float = 0.1
    blend: float = 0.3
    fullness: float = 2.0
    reuse: float = 15.0
    tree_blocks: int = 65_536

    def __post_init__(self) -> None:
        for name in ("output", "fullness", "reuse"):
            check_number(name, getattr(self, name), least=0)
        for name in ("prefill_per_s", "release_share"):
            check_number(name, getattr(self, name), above=0)
        check_number("blend", self.blend, above=0, most=1)
        check_number("tree_blocks", self.tree_blocks, least=1, whole=True)


@dataclass(slots=True)
class Rates:
    """Of one replica, smoothed over its reports; 0 unknown."""

    release_per_s: float = 0.0
    prefill_per_s: float = 0.0


Estimate = tuple[float, float, float, float, float, float]
"""Of one replica what does not depend on the request, kept until something changes there: seconds
before it; seconds per uncached token of its prompt; tokens beyond the memory before it, negative if
some is free; seconds that freeing a token takes; seconds until a slot is free; seconds that a token
it will hold counts for as fullness. The mean of predictions that it takes for a queue of unknown
outputs is of when it was made."""

OUTPUT_BLEND = 0.02
"""Weight of a prediction in their running mean."""

UNREPORTED_S = 0.01
"""What a request counts for that was sent to a replica which has reported nothing yet."""


class Sal(Prefixed):
    """Least estimated time until the start; see the module for what it is and is not.

    Of a replica with reported ``load`` and what was sent since, the time is

        tokens to prefill before it and of it, its cached prefix taken off / prefill rate
        + what the queue and it need beyond the free KV memory / release rate
        or, if later, the slots that are missing / rate at which they come free
        + fullness * share of the pool that is held or asked for, the request's own tokens to
        prefill counted ``reuse`` times.

    Args:
        replicas: how many there are.
        answers: whether the caller says `finished`.
        constants: see `SalConstants`.
        predicted: whether predicted lengths are used where a request has them.
    """

    name = "sal"
    reads_predictions = True

    def __init__(
        self,
        replicas: int,
        *,
        answers: bool = True,
        constants: SalConstants | None = None,
        predicted: bool = True,
    ) -> None:
        self.constants = constants or SalConstants()
        self._predicted = predicted
        self._usual_output = self.constants.output
        self._rates: list[Rates] = []
        self._estimates: list[Estimate | None] = []
        super().__init__(replicas, answers=answers, tree_blocks=self.constants.tree_blocks)

    def choose(self, query: Query) -> int:
        """The soonest start; the first of equals."""
        uncached = self._uncached(query)
        output = self._own_output(query)
        candidates = self._candidates()
        best, soonest = candidates[0], math.inf
        for index in candidates:
            estimate = self._estimates[index]
            if estimate is None:
                estimate = self._estimates[index] = self._estimate(index)
            base_s, token_s, over, release_s, slots_s, fullness_s = estimate
            new = uncached[index]
            need = new + output
            missing = max(slots_s, (over + need) * release_s)
            start_s = base_s + new * token_s + missing + need * fullness_s
            if start_s < soonest:
                best, soonest = index, start_s
        return best

    def sent(self, index: int, query: Query) -> None:
        """Into the books and the table."""
        before = self._books.where(query.key)
        super().sent(index, query)
        if before is not None:
            self._estimates[before] = None
        self._estimates[index] = None

    def finished(self, key: str) -> None:
        """Out of the books."""
        entry = self._books.finished(key)
        if entry is not None:
            self._estimates[entry.index] = None

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Into the books; its rates are smoothed."""
        if not self._report(index, load):
            return
        rates, blend = self._rates[index], self.constants.blend
        rates.release_per_s = _smoothed(rates.release_per_s, load.release_per_s, blend)
        rates.prefill_per_s = _smoothed(rates.prefill_per_s, load.prefill_per_s, blend)
        self._estimates[index] = None

    def reset(self, index: int) -> None:
        """Its rates are unknown, too."""
        super().reset(index)
        self._rates[index] = Rates()
        self._estimates[index] = None

    def _estimate(self, index: int) -> Estimate:
        account = self._books.accounts[index]
        load = account.load
        known, rates = self.constants, self._rates[index]
        unseen = account.unseen(self._books.answers)
        prefill = account.newest_uncached(unseen)
        token_s = 1.0 / (rates.prefill_per_s or known.prefill_per_s)
        if load is None:  # nothing is known of its memory
            return prefill * token_s + unseen * UNREPORTED_S, token_s, 0.0, 0.0, 0.0, 0.0
        prefill += load.waiting_uncached_tokens
        queued = load.waiting + unseen
        held = load.used_tokens + prefill + queued * self._output_of(account)
        capacity = max(1, load.capacity_tokens)
        release_s = 1.0 / (rates.release_per_s or known.release_share * capacity)
        fullness_s = known.fullness / capacity
        slots = max(0, load.running + queued + 1 - load.max_running)
        slots_s = slots * load.used_tokens / max(1, load.running) * release_s
        base_s = prefill * token_s + held * fullness_s
        token_s += (known.reuse - 1.0) * fullness_s
        return base_s, token_s, held - capacity, release_s, slots_s, fullness_s

    def _output_of(self, account: Account) -> float:
        """Mean of the open requests of a replica, or of late anywhere."""
        if account.predicted:
            return account.output / account.predicted
        return self._usual_output

    def _own_output(self, query: Query) -> float:
        expected = output_of(query)
        return expected if self._predicted and expected == expected else self.constants.output

    def _entry(self, index: int, query: Query) -> Sent:
        entry = super()._entry(index, query)
        if not self._predicted:
            entry.output = float("nan")
        elif entry.output == entry.output:
            self._usual_output += OUTPUT_BLEND * (entry.output - self._usual_output)
        return entry

    def _added(self, index: int) -> None:
        super()._added(index)
        self._rates.append(Rates())
        self._estimates.append(None)

    def _removed(self, replicas: int) -> None:
        super()._removed(replicas)
        del self._rates[replicas:], self._estimates[replicas:]


class SalPrompt(Sal):
    """SAL that never looks at predictions."""

    name = "sal-prompt"
    reads_predictions = False

    def __init__(
        self, replicas: int, *, answers: bool = True, constants: SalConstants | None = None
    ) -> None:
        super().__init__(replicas, answers=answers, constants=constants, predicted=False)


def _smoothed(old: float, new: float, blend: float) -> float:
    """A report of 0, or of what cannot be, says nothing."""
    if not 0 < new <= MOST:
        return old
    return new if old <= 0 else old + blend * (new - old)
