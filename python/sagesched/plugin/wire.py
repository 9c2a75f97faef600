"""What travels to the schedulers with a request: private fields of ``custom_params``; and its
prediction, where that follows, in a message of its own.

SGLang itself carries private fields there; they follow every path a request can take (single,
batch, n > 1, grammar queue, data parallelism) and reach every rank alike. Values must be plain
JSON. A client can write the same keys, so what the client wrote is dropped in the tokenizer
process, before ours is set, and what arrives in the scheduler is checked again.

One field is the client's own: ``{"sagesched": "off"}`` opts the request out of reordering. In the
scheduler all of them are taken out, before a logit processor sees them.

A prediction that follows is one of SGLang's requests to change numbers of a scheduler: they take
the same way as the requests before them and reach every rank between the same two steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sagesched.lengths import LengthDistribution, LengthGrid

PRIVATE_KEY = "__sagesched_output_length_pmf"
TENANT_KEY = "__sagesched_tenant"
SENT_KEY = "__sagesched_sent_s"
FOLLOWS_KEY = "__sagesched_follows"
PRIVATE_KEYS = (PRIVATE_KEY, TENANT_KEY, SENT_KEY, FOLLOWS_KEY)
BINS_KEY = "sagesched_bins"
"""Of a message: into how many its numbers are; 0 says that there is no prediction."""
OF_KEY = "sagesched_sent_s"
"""Of a message: when the request that it follows was sent; a request id may be used again."""
WISH_KEY = "sagesched"
OPT_OUT = "off"
MOST_BINS = 512
"""No grid has more: that many reach beyond 2^60 tokens."""
NUMBER_KEYS = tuple(map(str, range(MOST_BINS)))
SGLANG_REQUEST_KEY = "__req__"  # what SGLang adds to a dict for custom logit processors


@dataclass(frozen=True)
class Wishes:
    """What a request says beside its prediction.

    Attributes:
        opted_out: it is to keep its place by arrival.
        tenant: whose it is, for metrics; empty where tenants are not told apart.
        sent_s: when it was sent, seconds by the clock of the tokenizer process's machine; None
            where it does not say.
        follows: its prediction comes in a message of its own.
    """

    opted_out: bool = False
    tenant: str = ""
    sent_s: float | None = None
    follows: bool = False


def attach(
    sampling_params: Any,
    distribution: LengthDistribution | None,
    tenant: str = "",
    sent_s: float | None = None,
    *,
    follows: bool = False,
) -> bool:
    """Set a request's prediction, or remove it for None, or say that it follows; its tenant, and
    when it is sent. Returns False where nothing can be set beside what the client wrote."""
    params = sampling_params.custom_params
    if params is not None and not isinstance(params, dict):
        return False
    clean = {key: value for key, value in (params or {}).items() if key not in PRIVATE_KEYS}
    if distribution is not None:
        clean[PRIVATE_KEY] = distribution.to_wire()
    if tenant:
        clean[TENANT_KEY] = tenant
    if sent_s is not None:
        clean[SENT_KEY] = sent_s
    if follows:
        clean[FOLLOWS_KEY] = True
    if clean or params is not None:
        sampling_params.custom_params = clean
    return True


def detach(sampling_params: Any, grid: LengthGrid) -> LengthDistribution | None:
    """Take the prediction out of a request's ``SamplingParams``; None when there is none.

    Afterwards the request looks as the client sent it: a logit processor never sees the field.

    Raises:
        ValueError: the field is not a distribution over ``grid``.
    """
    found, values = _take(sampling_params, PRIVATE_KEY)
    return LengthDistribution.from_wire(values, grid) if found else None


def peek(sampling_params: Any) -> LengthDistribution | None:
    """The prediction of a request, left where it is; None when there is none.

    For who does not know the model's grid: its last edge, that alone, may lie up to a bin above.

    Raises:
        ValueError: the field is not a distribution.
    """
    params = getattr(sampling_params, "custom_params", None)
    if not isinstance(params, dict) or PRIVATE_KEY not in params:
        return None
    values = params[PRIVATE_KEY]
    bins = len(values) if isinstance(values, (list, tuple)) else 0
    return LengthDistribution.from_wire(values, grid_of_bins(bins))


@lru_cache(maxsize=8)
def grid_of_bins(bins: int) -> LengthGrid:
    """The longest grid of so many bins, whose last one is whole.

    Raises:
        ValueError: there is none of less than 1 bin or of more than ``MOST_BINS``.
    """
    if not 1 <= bins <= MOST_BINS:
        raise ValueError(f"grid_of_bins: expected 1 to {MOST_BINS} bins, got {bins}")
    longest = 1
    while len(LengthGrid(longest)) <= bins:
        longest *= 2
    return LengthGrid(int(LengthGrid(longest).edges[bins - 1]))


def detach_wishes(sampling_params: Any) -> Wishes:
    """Take the other fields out; what is malformed is as if it were not there."""
    params = sampling_params.custom_params
    if not isinstance(params, dict):
        return Wishes()
    before = len(params)
    wish, tenant = params.pop(WISH_KEY, None), params.pop(TENANT_KEY, None)
    sent_s, follows = params.pop(SENT_KEY, None), params.pop(FOLLOWS_KEY, None)
    if len(params) < before:
        _leave_none(sampling_params, params)
    opted_out = isinstance(wish, str) and wish == OPT_OUT
    is_time = type(sent_s) is float and 0 <= sent_s < math.inf
    return Wishes(
        opted_out,
        tenant if isinstance(tenant, str) else "",
        sent_s if is_time else None,
        follows is True,
    )


def as_message(rid: str, sent_s: float, distribution: LengthDistribution | None) -> Any:
    """The message in which a prediction, or that there is none, follows the request ``rid`` that
    was sent at ``sent_s``."""
    from sglang.srt.managers.io_struct import SetInternalStateReq

    return SetInternalStateReq(rid=rid, server_args=numbers_of(sent_s, distribution))


def numbers_of(sent_s: float, distribution: LengthDistribution | None) -> dict[str, float]:
    """What a message carries."""
    values = [] if distribution is None else distribution.to_wire()
    numbers = {BINS_KEY: len(values), OF_KEY: sent_s}
    numbers.update(zip(NUMBER_KEYS, values, strict=False))
    return numbers


def is_message(values: Mapping[str, Any]) -> bool:
    """Whether these are the numbers of a message."""
    return BINS_KEY in values and OF_KEY in values


def read_message(values: Mapping[str, Any], grid: LengthGrid) -> LengthDistribution | None:
    """What `numbers_of` made; None where there is no prediction.

    Raises:
        ValueError: it is not a distribution over ``grid``.
    """
    bins = values[BINS_KEY]
    if bins == 0:
        return None
    if bins != len(grid):
        raise ValueError(f"read_message: expected 0 or {len(grid)} bins, got {bins!r}")
    return LengthDistribution.from_wire(list(values.values())[2:], grid)  # they keep their order


def strip(sampling_params: Any) -> None:
    """Take out all of it unread."""
    for key in (WISH_KEY, *PRIVATE_KEYS):
        _take(sampling_params, key)


def _take(sampling_params: Any, key: str) -> tuple[bool, Any]:
    """Whether the field was there, and its value; it is there no longer."""
    params = sampling_params.custom_params
    if not isinstance(params, dict) or key not in params:
        return False, None
    value = params.pop(key)
    _leave_none(sampling_params, params)
    return True, value


def _leave_none(sampling_params: Any, params: dict[str, Any]) -> None:
    """Where nothing is left, as it was: SGLang adds its own key to ours only."""
    if not params or (len(params) == 1 and SGLANG_REQUEST_KEY in params):
        sampling_params.custom_params = None
