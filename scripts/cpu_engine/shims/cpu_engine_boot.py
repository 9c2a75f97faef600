"""Lets PyPI's torchvision, built for CUDA, be imported beside a torch without CUDA.

Imported at interpreter start through ``cpu_engine_boot.pth``; does nothing until somebody imports
torchvision. That import registers shape functions for operators which its compiled part defines.
Where that part cannot be loaded, "operator torchvision::nms does not exist" ends the import;
declared here, without an implementation, the operators are there to register for. A torchvision
whose compiled part would load has the operators already, or defines them itself first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class TorchvisionFinder:
    """Declares the operators just before torchvision is found in the ordinary way."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        sys.meta_path.remove(cls)
        declare_operators()
        return PathFinder.find_spec(name, path, target)


def declare_operators() -> None:
    """Give torch the schemas it does not know yet; a torch with CUDA needs none."""
    import torch

    if torch.version.cuda is not None:
        return
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


sys.meta_path.insert(0, TorchvisionFinder)
