"""SageSched: uncertainty-aware request scheduling for LLM serving, beside a stock SGLang.

Public names are loaded on first use: every process of a server imports this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sagesched._version import __version__

if TYPE_CHECKING:
    from sagesched.cost import CostModel
    from sagesched.gittins import (
        IndexCurve,
        RankEngine,
        gittins_curve,
        gittins_index,
        move_to_front,
    )
    from sagesched.lengths import LengthDistribution, LengthGrid

__all__ = [
    "CostModel",
    "IndexCurve",
    "LengthDistribution",
    "LengthGrid",
    "RankEngine",
    "__version__",
    "gittins_curve",
    "gittins_index",
    "move_to_front",
]

_MODULE_OF = {
    "CostModel": "sagesched.cost",
    "IndexCurve": "sagesched.gittins",
    "LengthDistribution": "sagesched.lengths",
    "LengthGrid": "sagesched.lengths",
    "RankEngine": "sagesched.gittins",
    "gittins_curve": "sagesched.gittins",
    "gittins_index": "sagesched.gittins",
    "move_to_front": "sagesched.gittins",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
