"""What travels with a request to the schedulers: private fields of ``custom_params``.

SGLang itself carries private fields there; they follow every path a request can take (single,
batch, n > 1, grammar queue, data parallelism) and reach every rank alike. Values must be plain
JSON. A client can write the same keys, so what the client wrote is dropped in the tokenizer
process, before ours is set, and what arrives in the scheduler is checked again.

One field is the client's own: ``{"sagesched": "off"}`` opts the request out of reordering. In the
scheduler all of them are taken out, before a logit processor sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sagesched.lengths import LengthDistribution, LengthGrid

PRIVATE_KEY = "__sagesched_output_length_pmf"
TENANT_KEY = "__sagesched_tenant"
WISH_KEY = "sagesched"
OPT_OUT = "off"
SGLANG_REQUEST_KEY = "__req__"  # what SGLang adds to a dict for custom logit processors


@dataclass(frozen=True)
class Wishes:
    """What a request says beside its prediction.

    Attributes:
        opted_out: it is to keep its place by arrival.
        tenant: whose it is, for metrics; empty where tenants are not told apart.
    """

    opted_out: bool = False
    tenant: str = ""


def attach(sampling_params: Any, distribution: LengthDistribution | None, tenant: str = "") -> None:
    """Set a request's prediction, or remove it for None, and its tenant."""
    params = sampling_params.custom_params
    if params is not None and not isinstance(params, dict):
        return
    private = (PRIVATE_KEY, TENANT_KEY)
    clean = {key: value for key, value in (params or {}).items() if key not in private}
    if distribution is not None:
        clean[PRIVATE_KEY] = distribution.to_wire()
    if tenant:
        clean[TENANT_KEY] = tenant
    if clean or params is not None:
        sampling_params.custom_params = clean


def detach(sampling_params: Any, grid: LengthGrid) -> LengthDistribution | None:
    """Take the prediction out of a request's ``SamplingParams``; None when there is none.

    Afterwards the request looks as the client sent it: a logit processor never sees the field.

    Raises:
        ValueError: the field is not a distribution over ``grid``.
    """
    found, values = _take(sampling_params, PRIVATE_KEY)
    return LengthDistribution.from_wire(values, grid) if found else None


def detach_wishes(sampling_params: Any) -> Wishes:
    """Take the other fields out; what is malformed is as if it were not there."""
    _, wish = _take(sampling_params, WISH_KEY)
    _, tenant = _take(sampling_params, TENANT_KEY)
    opted_out = isinstance(wish, str) and wish == OPT_OUT
    return Wishes(opted_out, tenant if isinstance(tenant, str) else "")


def strip(sampling_params: Any) -> None:
    """Take out all of it unread."""
    for key in (WISH_KEY, TENANT_KEY, PRIVATE_KEY):
        _take(sampling_params, key)


def _take(sampling_params: Any, key: str) -> tuple[bool, Any]:
    """Whether the field was there, and its value; it is there no longer."""
    params = sampling_params.custom_params
    if not isinstance(params, dict) or key not in params:
        return False, None
    value = params.pop(key)
    if not params.keys() - {SGLANG_REQUEST_KEY}:
        sampling_params.custom_params = None  # as it was: SGLang adds its own key to ours only
    return True, value
