"""SAL: to the replica that will start the request soonest.

A **reconstruction**. Of SAL (arXiv 2410.17840) we know the abstract and summaries: it is
token-aware, and it sends a request to the replica that will start it soonest, given the tokens that
are queued and the KV memory that is free. The formula below, the constants and everything about
stale reports, predictions and prefixes are ours, and not measured yet against other choosers.
"""

from __future__ import annotations

from dataclasses import dataclass

from sagesched.balance.books import Account, Sent
from sagesched.balance.kinds import Query, ReplicaLoad
from sagesched.balance.prefixed import Prefixed


@dataclass(frozen=True)
class SalConstants:
    """First guesses; all can be given to `make_chooser`.

    Attributes:
        output: tokens a request is taken to hold beside its prompt where no length is predicted.
        prefill_per_s: prompt tokens a second where a replica does not report it.
        release_share: share of the KV pool freed a second where a replica does not report it.
        blend: weight of a new report in the smoothed rates, 0..1.
        fullness: seconds of waiting that a pool held full counts for: among replicas that would
            start a request at once the emptiest is chosen, and later ones find room.
        tree_blocks: memory bound of the prefix table, per replica.
    """

    output: float = 512.0
    prefill_per_s: float = 10_000.0
    release_share: float = 0.1
    blend: float = 0.3
    fullness: float = 2.0
    tree_blocks: int = 65_536


@dataclass(slots=True)
class Rates:
    """Of one replica, smoothed over its reports; 0 unknown."""

    release_per_s: float = 0.0
    prefill_per_s: float = 0.0


class Sal(Prefixed):
    """Least estimated time until the start; see the module for what it is and is not.

    Of a replica with reported ``load`` and what was sent since, the time is

        tokens to prefill before it and of it, its cached prefix taken off / prefill rate
        + what the queue and it need beyond the free KV memory / release rate
        or, if later, the slots that are missing / rate at which they come free
        + fullness * share of the pool that is held or asked for.

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
        self._rates: list[Rates] = []
        super().__init__(replicas, answers=answers, tree_blocks=self.constants.tree_blocks)

    def choose(self, query: Query) -> int:
        """The soonest start."""
        uncached = self._uncached(query)
        return min(self._candidates(), key=lambda i: (self._start_s(i, query, uncached[i]), i))

    def observe(self, index: int, load: ReplicaLoad) -> None:
        """Into the books; its rates are smoothed."""
        if not self._report(index, load):
            return
        rates, blend = self._rates[index], self.constants.blend
        rates.release_per_s = _smoothed(rates.release_per_s, load.release_per_s, blend)
        rates.prefill_per_s = _smoothed(rates.prefill_per_s, load.prefill_per_s, blend)

    def _start_s(self, index: int, query: Query, uncached: float) -> float:
        account = self._books.accounts[index]
        load = account.load
        known, rates = self.constants, self._rates[index]
        unseen = account.unseen(self._books.answers)
        prefill = uncached + account.newest_uncached(unseen)
        prefill_per_s = rates.prefill_per_s or known.prefill_per_s
        if load is None:  # nothing is known of its memory
            return prefill / prefill_per_s + known.fullness * unseen / 256
        prefill += load.waiting_uncached_tokens
        queued = load.waiting + unseen
        need = prefill + queued * self._output_of(account) + self._own_output(query)
        capacity = max(1, load.capacity_tokens)
        release = rates.release_per_s or known.release_share * capacity
        missing = max(0.0, load.used_tokens + need - capacity) / release
        slots = load.running + queued + 1 - load.max_running
        if slots > 0 and load.running:
            missing = max(missing, slots * load.used_tokens / load.running / release)
        fullness = known.fullness * (load.used_tokens + need) / capacity
        return prefill / prefill_per_s + missing + fullness

    def _output_of(self, account: Account) -> float:
        """Mean of the open requests of a replica."""
        if not account.predicted:
            return self.constants.output
        return account.output / account.predicted

    def _own_output(self, query: Query) -> float:
        if self._predicted and query.expected_output is not None:
            return query.expected_output
        return self.constants.output

    def _entry(self, index: int, query: Query) -> Sent:
        entry = super()._entry(index, query)
        if not self._predicted:
            entry.output = float("nan")
        return entry

    def _added(self, index: int) -> None:
        super()._added(index)
        self._rates.append(Rates())

    def _removed(self, replicas: int) -> None:
        super()._removed(replicas)
        del self._rates[replicas:]


class SalPrompt(Sal):
    """SAL that never looks at predictions."""

    name = "sal-prompt"
    reads_predictions = False

    def __init__(
        self, replicas: int, *, answers: bool = True, constants: SalConstants | None = None
    ) -> None:
        super().__init__(replicas, answers=answers, constants=constants, predicted=False)


def _smoothed(old: float, new: float, blend: float) -> float:
    """A report of 0 says nothing."""
    if new <= 0:
        return old
    return new if old <= 0 else old + blend * (new - old)
