"""The true work that is left at a replica: what only a replay can know."""

from __future__ import annotations

from sagesched.replay.cluster.replica import ReplicaRun
from sagesched.replay.steptime import Step
from sagesched.replay.trace import TraceRequest

PREFILL_TOKENS = 4096
"""Length of the prompt that the speed of prefill is taken from."""


def work_left_s(replica: ReplicaRun, new: TraceRequest, uncached: float) -> float:
    """Seconds until a replica would have done all it has and a new request, as a fluid.

    KV memory held for a step, or a slot, whichever is scarcer, at the pace of its decode steps,
    plus the prompts that it has not begun; of the new one the tokens that are not cached there.
    """
    steps = held = 0.0
    prompts = uncached - len(new.prompt)
    waiting = [(r.output_tokens, len(r.prompt)) for _, r, _ in replica.inbox]
    waiting.append((new.output_tokens, len(new.prompt)))
    for live in replica.live.values():
        left = live.output_tokens - live.produced
        steps += left
        held += left * (live.prompt_tokens + live.produced + left / 2)
        if not live.started:
            prompts += live.prompt_tokens
    for output, prompt in waiting:
        output = min(output, replica.max_output_tokens)
        steps += output
        held += output * (prompt + output / 2)
        prompts += prompt
    situation = replica.situation
    decode_steps = max(held / situation.pool_tokens, steps / situation.slots)
    return decode_steps * situation.token_s + prompts * prefill_token_s(replica)


def prefill_token_s(replica: ReplicaRun) -> float:
    """Seconds that a prompt token takes."""
    pairs = PREFILL_TOKENS * PREFILL_TOKENS / 2
    step = Step(prefill_tokens=PREFILL_TOKENS, prefill_attention=pairs, prefill_requests=1)
    return replica.step_time.seconds(step) / PREFILL_TOKENS
