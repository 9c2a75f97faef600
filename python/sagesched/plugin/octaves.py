"""Powers and logarithms of two with the same bits on every rank; those of C libraries differ.

Only multiplications, divisions and additions are made, which IEEE 754 defines to the last bit.
"""

from __future__ import annotations

import math
from bisect import bisect_right

PARTS = 8
_POWERS = (
    *(1.0, 1.0905077326652577, 1.189207115002721, 1.2968395546510096),
    *(1.4142135623730951, 1.542210825407941, 1.681792830507429, 1.8340080864093424),
    2.0,
)
"""An octave in eighths."""


def log2(value: float) -> float:
    """Within 0.0014 of the logarithm: a straight line in each eighth of an octave.

    Args:
        value: finite, > 0.
    """
    half, exponent = math.frexp(value)
    within = 2.0 * half
    part = bisect_right(_POWERS, within) - 1
    low, high = _POWERS[part], _POWERS[part + 1]
    return exponent - 1 + (part + (within - low) / (high - low)) / PARTS


def power2(eighths: int) -> float:
    """``2 ** (eighths / 8)``."""
    return math.ldexp(_POWERS[eighths % PARTS], eighths // PARTS)
