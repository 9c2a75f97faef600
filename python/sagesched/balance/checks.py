"""Constants of choosers, and what they are told, checked."""

from __future__ import annotations

import math
from typing import Any

from sagesched.balance.kinds import MOST, ReplicaLoad


def check_number(
    name: str,
    value: Any,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> None:
    """In bounds, and no larger than a float can reckon with.

    Raises:
        ValueError: it is not; the message says what is valid.
    """
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if is_number and abs(value) <= MOST and value >= least and value > above and value <= most:
        return
    bounds = [
        f"at least {least:g}" if least > -math.inf else "",
        f"above {above:g}" if above > -math.inf else "",
        f"at most {most:g}" if most < math.inf else "",
    ]
    kind = "a whole number" if whole else "a number"
    said = " and ".join(filter(None, bounds))
    raise ValueError(f"{name} = {value!r}: expected {kind} {said}".rstrip())


def check_flag(name: str, value: Any) -> None:
    """True or False.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: expected True or False")


def check_seed(name: str, value: Any) -> None:
    """A whole number of any size.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: expected a whole number")


def is_possible(load: ReplicaLoad) -> bool:
    """Whether all counts of a report can be, and it has a place among others.

    Of the rest what cannot be is taken for unknown.
    """
    return (
        0 <= load.running <= MOST
        and 0 <= load.waiting <= MOST
        and 0 <= load.waiting_uncached_tokens <= MOST
        and 0 <= load.used_tokens <= MOST
        and 0 <= load.capacity_tokens <= MOST
        and 0 <= load.max_running <= MOST
        and -math.inf < load.sequence < math.inf
    )  # NaN is in no bounds
