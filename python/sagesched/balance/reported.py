"""Loads as SGLang reports them (``/v1/loads``, ``LoadSnapshot``), as the chooser wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sagesched.balance import ReplicaLoad

SMOOTHING = 0.3
"""Weight of a new rate against the mean of the earlier ones."""


class LoadReader:
    """Turns one replica's reports, in order of their age, into loads with rates.

    SGLang reports stocks and counters, no rates. Between two reports ``dt`` apart:
    prefill_per_s = uncached prefill tokens / time the engine was busy with them;
    release_per_s = (prefilled + generated - growth of the used KV) / dt, since what came in and
    is not there any more was freed. The first is exact, the second counts tokens shared through
    the radix cache once and is smoothed.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] | None = None
        self._sequence = 0
        self._prefill_per_s = 0.0
        self._release_per_s = 0.0

    def read(self, reports: Sequence[Mapping[str, Any]]) -> ReplicaLoad:
        """The load of a server with these data-parallel ranks, added up.

        Raises:
            ValueError: there are none, or a field is missing or no number.
        """
        if not reports:
            raise ValueError("the server reports no loads")
        total = _sum(reports)
        if self._last is not None and total["timestamp"] > self._last["timestamp"]:
            self._learn_rates(self._last, total)
        if self._last is None or total["timestamp"] != self._last["timestamp"]:
            self._sequence += 1
        self._last = total
        return ReplicaLoad(
            running=int(total["num_running_reqs"]),
            waiting=int(total["num_waiting_reqs"]),
            waiting_uncached_tokens=int(total["num_waiting_uncached_tokens"]),
            used_tokens=int(total["num_used_tokens"]),
            capacity_tokens=int(total["max_total_num_tokens"]),
            max_running=int(total["max_running_requests"]),
            release_per_s=self._release_per_s,
            prefill_per_s=self._prefill_per_s,
            sequence=self._sequence,
        )

    @property
    def timestamp(self) -> float:
        """Of the newest report, by the engine's clock in seconds; 0 before the first."""
        return 0.0 if self._last is None else self._last["timestamp"]

    def _learn_rates(self, before: Mapping[str, float], now: Mapping[str, float]) -> None:
        seconds = now["timestamp"] - before["timestamp"]
        prefilled = now["total_prefill_uncached_tokens"] - before["total_prefill_uncached_tokens"]
        busy_s = (now["total_prefill_busy_us"] - before["total_prefill_busy_us"]) / 1e6
        if prefilled > 0 and busy_s > 0:
            self._prefill_per_s = _smooth(self._prefill_per_s, prefilled / busy_s)
        came = max(0.0, prefilled) + now["gen_throughput"] * seconds
        freed = came - (now["num_used_tokens"] - before["num_used_tokens"])
        if now["num_running_reqs"] or before["num_running_reqs"]:
            self._release_per_s = _smooth(self._release_per_s, max(0.0, freed / seconds))


_REQUIRED = (
    "num_running_reqs",
    "num_waiting_reqs",
    "num_waiting_uncached_tokens",
    "num_used_tokens",
    "max_total_num_tokens",
    "max_running_requests",
)
_OPTIONAL = ("total_prefill_uncached_tokens", "total_prefill_busy_us", "gen_throughput")


def _sum(reports: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    total = {name: sum(_number(r, name) for r in reports) for name in _REQUIRED}
    total |= {name: sum(_number(r, name, 0.0) for r in reports) for name in _OPTIONAL}
    total["timestamp"] = max(_number(r, "timestamp", 0.0) for r in reports)
    return total


def _number(report: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = report.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"the server's load says {name} = {value!r}, expected a number")
    return float(value)


def _smooth(mean: float, new: float) -> float:
    return new if mean == 0.0 else mean + SMOOTHING * (new - mean)
