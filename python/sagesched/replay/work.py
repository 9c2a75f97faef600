"""How much work a batch is, read off SGLang's ``ScheduleBatch``; the step-time model prices it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagesched.replay.recorder import Live, Recorder
from sagesched.replay.steptime import Step


def decode_work(batch: Any) -> Step:
    """The work of a pass in which every request decodes."""
    total = batch.seq_lens_sum
    kv_tokens = int(batch.seq_lens_cpu.sum()) if total is None else int(total)
    return Step(decode_requests=len(batch.reqs), decode_kv_tokens=kv_tokens)


class PrefillBooks:
    """The work of passes that compute prompts, and the counts that come with them.

    Args:
        live: the run's requests by id.
        recorder: keeps the counts.
        swap_is_free: whether moving the KV of preempted requests takes no time.
    """

    def __init__(self, live: Mapping[str, Live], recorder: Recorder, swap_is_free: bool) -> None:
        self._live = live
        self._recorder = recorder
        self._swap_is_free = swap_is_free

    def work(self, batch: Any) -> Step:
        """What a prefill pass computes; in a mixed one decoding requests ride along."""
        riding = {id(request) for request in batch.decoding_reqs or ()}
        tokens = requests = moved = decoding = kv_tokens = 0
        attention = 0.0
        rows = zip(batch.reqs, batch.extend_lens, batch.prefix_lens, strict=True)
        for request, new, prefix in rows:
            if id(request) in riding:
                decoding += 1
                kv_tokens += prefix + new
                continue
            live = self._live.get(request.rid)
            if live is not None and live.swapped_tokens:
                # Its KV comes back instead of being computed, and with the last of it, decoding
                # goes on.
                if prefix + new >= len(request.origin_input_ids) + len(request.output_ids):
                    moved += 0 if self._swap_is_free else 2 * live.swapped_tokens  # out, and in
                    live.swapped_tokens = 0
                    decoding += 1
                    kv_tokens += prefix + new
                continue
            self._count(live, request, new, prefix)
            requests += 1
            tokens += new
            attention += new * (prefix + new / 2)
        return Step(decoding, kv_tokens, tokens, attention, requests, moved)

    def _count(self, live: Live | None, request: Any, new: int, prefix: int) -> None:
        """Keep the books on a row whose tokens are computed."""
        if live is None:
            return
        recorder = self._recorder
        recorder.prefill_tokens += new
        if not live.started:
            live.started = True
            recorder.cached_tokens += prefix
        elif request.retraction_count:
            recorder.recomputed_tokens += new
