"""What must hold after a soak; each can fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.soak.leftovers import LEAK, RETRACTED, Leftovers, checksums
from bench.soak.plan import ABORT, ANSWER, HANG_UP, STREAM, Ask

MOST_GROWTH = 0.02
LEAST_PASSES = 64
"""Checksums of as many passes at least must have been compared."""
NAMED = 5
"""Requests that a line names."""


@dataclass(frozen=True)
class Check:
    """One of them.

    Attributes:
        what: must hold.
        holds: whether it does.
        found: what was seen.
    """

    what: str
    holds: bool
    found: str


@dataclass(frozen=True)
class Soak:
    """All that is known of one.

    Attributes:
        asks: the requests.
        wall_s: from the first one to the last word.
        ranks: tensor-parallel ranks of the server.
        left: what the server held afterwards.
        log: its log.
        alive: whether it ran to the end.
        growth: bytes early and late, by process; empty where it was too short.
        stock_growth: the same under stock fcfs, where that was measured.
        mixed: whether running requests could give way.
    """

    asks: Sequence[Ask]
    wall_s: float
    ranks: int
    left: Leftovers
    log: str
    alive: bool
    growth: Mapping[str, tuple[int, int]]
    stock_growth: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    mixed: bool = False

    @property
    def retractions(self) -> int:
        """Times that running requests lost their memory."""
        return self.log.count(RETRACTED) // self.ranks


def checks(soak: Soak) -> Iterator[Check]:
    """All of them."""
    yield from _answers(soak)
    yield from _nothing_left(soak)
    yield from _ranks(soak)
    yield from _memory(soak)


def _answers(soak: Soak) -> Iterator[Check]:
    served = [ask for ask in soak.asks if ask.kind in (ANSWER, STREAM)]
    wrong = [ask for ask in served if _result(ask) != (True, 200, ask.tokens, "stop", "")]
    yield Check(
        "who was not aborted ends, at exactly its length",
        bool(served) and not wrong,
        f"{len(served) - len(wrong)} of {len(served)}{_names(wrong)}",
    )
    left = [ask for ask in soak.asks if ask.kind == ABORT]
    lost = [ask for ask in left if not ask.ended or ask.error or ask.produced > ask.tokens]
    reasons = Counter(ask.reason or f"status {ask.status}" for ask in left)
    yield Check(
        "who was aborted ends, and was not always too late",
        not lost and reasons["abort"] > 0,
        f"{len(left) - len(lost)} of {len(left)}{_names(lost)}; {dict(reasons)}",
    )
    gone = [ask for ask in soak.asks if ask.kind == HANG_UP]
    failed = [ask for ask in gone if not ask.ended or ask.error]
    before = [ask for ask in gone if ask.reason != "stop"]
    yield Check(
        "clients that hang up do so before their answer is complete, a fifth of them",
        not failed and 5 * len(before) >= len(gone) > 0,
        f"{len(before)} of {len(gone)}{_names(failed)}",
    )
    yield Check(
        "memory ran out, and running requests were retracted",
        soak.retractions > 0,
        f"{soak.retractions} times",
    )
    if soak.mixed:
        parked = soak.left.parked
        yield Check("running requests gave way to others", parked > 0, f"{parked:g} times")


def _nothing_left(soak: Soak) -> Iterator[Check]:
    left = soak.left
    yield Check(
        "the server lives, and SGLang's own check found no leak",
        soak.alive and LEAK not in soak.log,
        "it does" if soak.alive else "it ended",
    )
    yield Check("it comes to rest", left.idle, "it did" if left.idle else "it did not")
    yield Check(
        "nothing runs, waits or holds KV memory beside the radix cache",
        not any(left.loads.values()),
        _counts(left.loads),
    )
    flushed, tokens = left.flushed
    yield Check(
        "the radix cache can be flushed, and no KV memory is in use",
        flushed and tokens == 0,
        f"{'flushed' if flushed else 'refused'}, {tokens:g} tokens in use",
    )
    yield Check("all tables are empty", not any(left.tables.values()), _counts(left.tables))
    yield Check("nothing fell back to stock order", not left.fallbacks, _counts(left.fallbacks))


def _ranks(soak: Soak) -> Iterator[Check]:
    if soak.ranks < 2:
        return
    found = {
        passes: sums for passes, sums in checksums(soak.log).items() if len(sums) == soak.ranks
    }
    apart = [passes for passes, sums in found.items() if len(set(sums.values())) > 1]
    yield Check(
        "ranks order alike: the same checksums after the same number of passes",
        max(found, default=0) >= LEAST_PASSES and not apart,
        f"{len(found)} compared, the last after {max(found, default=0):,} passes"
        + (f"; apart after {apart[:NAMED]}" if apart else ""),
    )


def _memory(soak: Soak) -> Iterator[Check]:
    for name, (early, late) in soak.growth.items():
        share, stock = late / early - 1, 0.0
        found = f"{early / 2**20:.1f} MiB, then {late / 2**20:.1f} MiB ({share:+.2%})"
        if name in soak.stock_growth:
            before, after = soak.stock_growth[name]
            stock = after / before - 1
            found += f"; stock {before / 2**20:.1f}, then {after / 2**20:.1f} MiB ({stock:+.2%})"
        yield Check(
            f"memory of {name} grows by less than {MOST_GROWTH:.0%} from the first quarter on, or "
            "by no more than under stock fcfs in the same requests",
            share < max(MOST_GROWTH, stock),
            found,
        )


def _result(ask: Ask) -> tuple[bool, int, int, str, str]:
    return (ask.ended, ask.status, ask.produced, ask.reason, ask.error)


def _names(asks: Sequence[Ask]) -> str:
    if not asks:
        return ""
    some = "; ".join(f"{ask.rid} of {ask.tokens} {_result(ask)}" for ask in asks[:NAMED])
    return f"; not so: {some}{' ...' if len(asks) > NAMED else ''}"


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {n:g}" for name, n in counts.items()) or "none"
