"""Loads as SGLang reports them (``/v1/loads``, ``LoadSnapshot``), as the chooser wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sagesched.balance import ReplicaLoad

WINDOW_S = 1.0
"""Rates are means over at least so long: in a shorter time often nothing ends."""
LEAST_PREFILL = 1024
"""Tokens; with fewer in a window the time is that of starting a step, not of computing tokens."""
MOST = 2.0**53
"""Of any number in a report."""


class LoadReader:
    """Turns one replica's reports, in order of their age, into loads with rates.

    SGLang reports stocks and counters, no rates. Between two reports that are a window apart:
    prefill_per_s = uncached prompt tokens / time the engine was busy with them;
    release_per_s = (prefilled + generated - growth of the used KV) / time between them, since what
    came and is not there any more was freed.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {"timestamp": 0.0}
        self._base: dict[str, float] = {}
        self._sequence = 0
        self._prefill_per_s = 0.0
        self._release_per_s = 0.0

    def read(self, reports: Sequence[Mapping[str, Any]]) -> ReplicaLoad:
        """The load of a server with these data-parallel ranks, added up.

        Raises:
            ValueError: there are none, or a field is missing or no number.
        """
        if not isinstance(reports, Sequence) or not reports:
            raise ValueError("the server reports no loads")
        total = _sum(reports)
        if not total["timestamp"] or total["timestamp"] != self._last["timestamp"]:
            self._sequence += 1
            self._last = total
            self._learn_rates(total)
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
            made_s=total["made"] or None,
        )

    def _learn_rates(self, now: dict[str, float]) -> None:
        before = self._base
        seconds = now["timestamp"] - before.get("timestamp", 0.0)
        if before and 0 <= seconds < WINDOW_S:
            return
        self._base = now
        counter = "total_prefill_uncached_tokens"
        if not before or seconds < 0 or now[counter] < before[counter]:
            return  # the first one, or the server was started anew
        prefilled = now[counter] - before[counter]
        busy_s = (now["total_prefill_busy_us"] - before["total_prefill_busy_us"]) / 1e6
        if prefilled >= LEAST_PREFILL and busy_s > 0:
            self._prefill_per_s = prefilled / busy_s
        generated = now["generated"] - before["generated"] or now["gen_throughput"] * seconds
        freed = prefilled + generated - (now["num_used_tokens"] - before["num_used_tokens"])
        self._release_per_s = max(0.0, freed / seconds)


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
    if not all(isinstance(report, Mapping) for report in reports):
        raise ValueError("a load that the server reports is no object")
    total = {name: sum(_number(r, name) for r in reports) for name in _REQUIRED}
    total |= {name: sum(_optional(r, name) for r in reports) for name in _OPTIONAL}
    moments = [r.get("decode_moments") for r in reports]  # counted while it decodes
    last = [{"decode_moments": m[-1]} for m in moments if isinstance(m, list) and m]
    total["generated"] = sum(_optional(one, "decode_moments") for one in last)
    made = [_number(r, "timestamp", 0.0) for r in reports]
    total["timestamp"], total["made"] = max(made), min(made)  # what is sent later is in none
    return total


def _optional(report: Mapping[str, Any], name: str) -> float:
    """What rates are made of; 0 where it is not known."""
    try:
        return _number(report, name, 0.0)
    except ValueError:
        return 0.0


def _number(report: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = report.get(name, default)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MOST:  # NaN is neither
        raise ValueError(f"the server's load says {name} = {value!r}, expected a number")
    return float(value)
