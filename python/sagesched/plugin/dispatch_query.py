"""A request of SGLang's data-parallel controller, as the chooser wants it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sagesched.balance import Query
from sagesched.plugin import fallback, wire


def query_of(request: Any, reads_predictions: bool) -> Query:
    """Its length, its token ids, the time and, where it carries one, its predicted output.

    A prediction that cannot be read is counted, and the request is one without.
    """
    expected = None
    if reads_predictions:
        try:
            predicted = wire.peek(getattr(request, "sampling_params", None))
            if predicted is not None:
                expected = predicted.mean()
        except Exception as error:
            fallback.report("balance-prediction", error)
    ids: Sequence[int] = request.input_ids if request.input_ids is not None else ()
    return Query(str(request.rid), prompt_tokens(request), ids, expected, sent_s=time.time())


def prompt_tokens(request: Any) -> int:
    """Of a prompt of ids or of embeddings."""
    for prompt in (request.input_ids, getattr(request, "input_embeds", None)):
        if prompt is not None:
            return len(prompt)
    return 0


def is_idle(load: Any) -> bool:
    """Whether a ``LoadSnapshot`` says that its replica has no request at all.

    One whose prompt is computed in chunks is neither running nor waiting, but holds KV memory.
    """
    queues = load.queues
    apart = 0 if queues is None else queues.grammar + queues.paused + queues.retracted
    requests = load.num_running_reqs + load.num_waiting_reqs + apart
    return not (requests or load.num_waiting_uncached_tokens or load.num_used_tokens)
