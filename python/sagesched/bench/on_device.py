"""The CUDA kernel as one more level, where a device and a build with CUDA are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched.bench.requests import Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OnDevice:
    """A tensor that is copied to the host only where somebody looks at it: not while timed."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._tensor.cpu().numpy(), dtype=dtype)


def device_is_there() -> bool:
    """Whether the level "cuda" can be timed."""
    from sagesched.gittins_cuda import available

    return available()


def cuda_way(requests: Requests) -> Callable[[], Any]:
    """The kernel on tensors that lie on the device, until the device is done."""
    import torch

    from sagesched.gittins_cuda import gittins_index_cuda

    pmf = torch.from_numpy(requests.pmf_by_column.T.copy()).cuda().t()  # columns
    support = torch.from_numpy(requests.support.astype(requests.pmf.dtype)).cuda()
    age, prompt_len, cached_len = (
        torch.from_numpy(column).cuda()
        for column in (requests.age, requests.prompt_len, requests.cached_len)
    )
    out = torch.empty(len(requests.pmf), dtype=pmf.dtype, device="cuda")

    def run() -> Any:
        gittins_index_cuda(pmf, support, age, prompt_len, cached_len, requests.cost, out=out)
        torch.cuda.synchronize()
        return OnDevice(out)

    return run
