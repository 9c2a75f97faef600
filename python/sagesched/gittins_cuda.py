"""Gittins index of requests whose distributions lie on a CUDA device, as tensors of torch.

Only where sagesched was built with CUDA (docs/cuda.md). Neither torch nor CUDA is loaded before the
first call.
"""

from __future__ import annotations

import importlib
import importlib.util
from numbers import Real
from typing import TYPE_CHECKING, Any

from sagesched.cost import CostModel

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

__all__ = ["available", "gittins_index_cuda"]

MASSES = ("float32", "float64")
TOKENS = ("float32", "float64", "int32", "int64")
HOW_TO_BUILD = (
    "this sagesched was built without CUDA; build it where nvcc is, with "
    "pip install . -C cmake.define.SAGESCHED_CUDA=ON (docs/cuda.md)"
)


def available() -> bool:
    """Whether :func:`gittins_index_cuda` can run: built with CUDA, torch installed, a device."""
    names = ("sagesched._cuda", "torch")
    if any(importlib.util.find_spec(name) is None for name in names):
        return False
    return bool(importlib.import_module("torch").cuda.is_available())


def gittins_index_cuda(
    pmf: Tensor,
    support: Tensor,
    age: Tensor | float,
    prompt_len: Tensor | float,
    cached_len: Tensor | float = 0,
    cost: CostModel = CostModel(),
    *,
    out: Tensor | None = None,
    stop: Tensor | None = None,
) -> Tensor:
    """:func:`sagesched.gittins.gittins_index` on a device: what that gives, bit for bit.

    One kernel on the current stream of the tensors' device. Nothing is waited for and nothing
    allocated, but ``out`` where it is not given. Each request is computed by a thread of its own,
    as if it were the only row of its batch.

    All tensors are on one CUDA device. No gradient flows through.

    Args:
        pmf: ``[N, m]`` mass of each output length, float32 or float64, **stored by column**:
            strides ``(1, N)`` as of ``torch.empty(m, N).t()``, so that threads read neighbours.
        support: ``[m]`` right edge of each length bin in tokens, positive, strictly increasing; or
            ``[N, m]``, a support per row, stored like ``pmf``. Same dtype as ``pmf``.
        age: ``[N]`` (float32, float64, int32 or int64) or a number, output tokens produced so far.
        prompt_len: ``[N]`` or a number, prompt tokens.
        cached_len: ``[N]`` or a number, prompt tokens in the prefix cache; clamped to
            ``prompt_len``.
        cost: coefficients of the cost.
        out: ``[N]``, dtype of ``pmf``, contiguous: receives the index.
        stop: the same: receives the edge that attains the index.

    Returns:
        ``out``. The index of a row whose numbers ``gittins_index`` would refuse is NaN, and so is
        its ``stop``: the values are on the device, and an exception would have to wait for them.

    Raises:
        ValueError: a tensor that is not on the device of ``pmf``, is stored by row, or whose dtype
            or shape does not fit; the message says what to do. A number that is no token count.
        TypeError: something that is not a tensor.
        ImportError: sagesched was built without CUDA.
        RuntimeError: CUDA refused the launch.
    """
    _check_matrix("pmf", pmf, pmf)
    rows, bins = pmf.shape
    own_support = _check_support(support, pmf)
    tokens = [
        _tokens(name, values, pmf)
        for name, values in (("age", age), ("prompt_len", prompt_len), ("cached_len", cached_len))
    ]
    for name, result in (("out", out), ("stop", stop)):
        if result is not None:
            _check_result(name, result, pmf)
    module = _module()
    torch = importlib.import_module("torch")
    if out is None:
        out = torch.empty(rows, dtype=pmf.dtype, device=pmf.device)
    module.gittins_index(
        _dtype(pmf),
        rows,
        bins,
        (pmf.data_ptr(), pmf.stride(1)),
        (support.data_ptr(), support.stride(-1)),
        own_support,
        *tokens,
        cost.token,
        cost.memory,
        cost.prefill,
        out.data_ptr(),
        0 if stop is None else stop.data_ptr(),
        pmf.device.index,
        torch.cuda.current_stream(pmf.device).cuda_stream,
    )
    return out


def _module() -> ModuleType:
    try:
        return importlib.import_module("sagesched._cuda")
    except ModuleNotFoundError as error:
        raise ImportError(HOW_TO_BUILD) from error


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_tensor(name: str, value: Any, pmf: Tensor, dtypes: tuple[str, ...]) -> None:
    if not hasattr(value, "is_cuda"):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a CUDA tensor of torch")
    if not value.is_cuda:
        raise ValueError(
            f"{name} is on {value.device}; move it with .cuda(), or use gittins_index, which takes "
            "arrays in host memory"
        )
    if value.device != pmf.device:
        raise ValueError(f"{name} is on {value.device}, pmf on {pmf.device}")
    if _dtype(value) not in dtypes:
        raise ValueError(f"{name} has dtype {_dtype(value)}; expected {' or '.join(dtypes)}")


def _check_shape(name: str, tensor: Tensor, fits: bool, want: str) -> None:
    if not fits:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {want}")


def _check_matrix(name: str, matrix: Any, pmf: Tensor) -> None:
    _check_tensor(name, matrix, pmf, MASSES if matrix is pmf else (_dtype(pmf),))
    _check_shape(name, matrix, len(matrix.shape) == 2, "(N, m)")
    if matrix.shape[0] > 1 and matrix.stride(0) != 1:
        raise ValueError(
            f"{name} has strides {tuple(matrix.stride())}; it must be stored by column, strides "
            f"(1, {matrix.shape[0]}): {name} = {name}.t().contiguous().t(), or fill it that way"
        )


def _check_support(support: Any, pmf: Tensor) -> bool:
    """Whether each row has its own."""
    _check_tensor("support", support, pmf, (_dtype(pmf),))
    rows, bins = pmf.shape
    shape = tuple(support.shape)
    want = f"({bins},), or ({rows}, {bins}) like pmf"
    _check_shape("support", support, shape in ((bins,), (rows, bins)), want)
    if len(shape) == 2:
        _check_matrix("support", support, pmf)
    return len(shape) == 2


def _tokens(name: str, values: Any, pmf: Tensor) -> tuple[str, float, int, int]:
    """Type, constant, address and stride of a count of tokens per request."""
    if isinstance(values, Real) and not isinstance(values, bool):
        return "constant", float(values), 0, 0
    _check_tensor(name, values, pmf, TOKENS)
    rows = pmf.shape[0]
    _check_shape(name, values, tuple(values.shape) in ((), (rows,)), f"() or ({rows},)")
    return _dtype(values), 0.0, values.data_ptr(), values.stride(0) if values.shape else 0


def _check_result(name: str, tensor: Any, pmf: Tensor) -> None:
    _check_tensor(name, tensor, pmf, (_dtype(pmf),))
    rows = pmf.shape[0]
    _check_shape(name, tensor, tuple(tensor.shape) == (rows,), f"({rows},)")
    if rows > 1 and tensor.stride(0) != 1:
        raise ValueError(f"{name} has stride {tensor.stride(0)}; it must be contiguous")
