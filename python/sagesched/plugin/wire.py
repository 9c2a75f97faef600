"""How a prediction travels with its request: a private field of ``custom_params``.

SGLang itself carries private fields there; they follow every path a request can take (single,
batch, n > 1, grammar queue, data parallelism) and reach every rank alike. Values must be plain
JSON. A client can write the same key, so what the client wrote is dropped in the tokenizer
process, before ours is set, and what arrives in the scheduler is checked again.
"""

from __future__ import annotations

from typing import Any

from sagesched.lengths import LengthDistribution, LengthGrid

PRIVATE_KEY = "__sagesched_output_length_pmf"
SGLANG_REQUEST_KEY = "__req__"  # what SGLang adds to a dict for custom logit processors


def attach(sampling_params: Any, distribution: LengthDistribution | None) -> None:
    """Set (or, for None, remove) the prediction in a request's ``SamplingParams``."""
    params = sampling_params.custom_params
    if params is not None and not isinstance(params, dict):
        return
    clean = {key: value for key, value in (params or {}).items() if key != PRIVATE_KEY}
    if distribution is not None:
        clean[PRIVATE_KEY] = distribution.to_wire()
    if clean or params is not None:
        sampling_params.custom_params = clean


def detach(sampling_params: Any, grid: LengthGrid) -> LengthDistribution | None:
    """Take the prediction out of a request's ``SamplingParams``; None when there is none.

    Afterwards the request looks as the client sent it: a logit processor never sees the field.

    Raises:
        ValueError: the field is not a distribution over ``grid``.
    """
    params = sampling_params.custom_params
    if not isinstance(params, dict) or PRIVATE_KEY not in params:
        return None
    values = params.pop(PRIVATE_KEY)
    if not params.keys() - {SGLANG_REQUEST_KEY}:
        sampling_params.custom_params = None  # as it was: SGLang adds its own key to ours only
    return LengthDistribution.from_wire(values, grid)
