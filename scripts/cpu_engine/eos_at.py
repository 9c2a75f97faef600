"""Replay of true output lengths: a logit processor that ends a request at a given token.

A request carries ``custom_params = {"n": N, "eos": id}``; its token number N (counted from 1)
is ``eos`` and no token before it is. ``max_new_tokens`` may stay as generous as a real client's,
so nothing that a scheduling policy looks at tells the length.

A client sends (the server needs ``--enable-custom-logit-processor``)::

    {"text": ..., "custom_logit_processor": EosAt.to_str(),
     "sampling_params": {"max_new_tokens": 2000, "custom_params": eos_at_params(17, eos=2)}}

SGLang's OpenAI routes take both as top-level fields of the body.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from .pace import Pace

if TYPE_CHECKING:
    import torch

_pace = Pace.from_environment()


def eos_at_params(tokens: int, eos: int) -> dict[str, int]:
    """The ``custom_params`` of a request that ends at token number ``tokens`` (>= 1)."""
    if tokens < 1:
        raise ValueError(f"a request produces at least 1 token, got tokens={tokens}")
    return {"n": tokens, "eos": eos}


class EosAt:
    """Forces EOS at token ``n`` and forbids it before.

    Not derived from SGLang's ``CustomLogitProcessor``: SGLang only calls it, and without that
    base this module needs neither SGLang nor torch, so that a load generator starts quickly.
    """

    @classmethod
    def to_str(cls) -> str:
        """What a request puts into ``custom_logit_processor``.

        SGLang unpickles the bytes behind "callable". A reference by name (a pickle of protocol 0)
        keeps every request some 2 kB smaller than the pickled class; ``EngineServer`` puts this
        package on the server's path.
        """
        by_name = f"c{cls.__module__}\n{cls.__qualname__}\n."
        return json.dumps({"callable": by_name.encode().hex()})

    def __call__(
        self, logits: torch.Tensor, custom_param_list: list[dict[str, Any]] | None = None
    ) -> torch.Tensor:
        """Change ``logits`` [rows, vocabulary] in place; one entry of the list per row."""
        _pace.end_step()  # called once a step, for the whole batch
        rows = [
            (i, p) for i, p in enumerate(custom_param_list or []) if p and "n" in p and "eos" in p
        ]
        if not rows:
            return logits
        # One assignment for the whole batch: a tensor operation per row would cost more than
        # the step of a tiny model.
        logits[[i for i, _ in rows], [int(p["eos"]) for _, p in rows]] = -math.inf
        for i, p in rows:
            if next_token_number(p["__req__"]) == int(p["n"]):
                logits[i, :] = -math.inf
                logits[i, int(p["eos"])] = 0.0
        return logits


def next_token_number(req: Any) -> int:
    """Number (from 1) of the output token that ``req``, an SGLang ``Req``, samples in this step.

    Counted by the KV slots the request holds: the overlap scheduler's ``output_ids`` lag by one
    step, while these are right there, after a retraction (the prompt and what was produced are
    prefilled again) and with a prefix from the radix cache. In the middle of a chunked prefill
    it is smaller than the number of the next token, so that no length is met too early.
    """
    return int(req.kv.kv_allocated_len) - len(req.origin_input_ids) + 1
