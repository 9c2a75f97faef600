"""Constants of choosers, checked."""

from __future__ import annotations

import math
from typing import Any

MOST = 1e18


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
