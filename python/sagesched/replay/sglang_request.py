"""A request as SGLang's scheduler gets it from the tokenizer process."""

from __future__ import annotations

from array import array
from typing import Any

from sagesched.lengths import LengthDistribution


def tokenized(
    rid: str,
    prompt: array[int],
    max_output_tokens: int,
    predicted: LengthDistribution | None,
    sent_s: float | None = None,
    *,
    follows: bool = False,
) -> Any:
    """A ``TokenizedGenerateReqInput``; a prediction travels in it as the plug-in sends it, or it is
    said that one ``follows``."""
    from sglang.srt.managers.io_struct import TokenizedGenerateReqInput
    from sglang.srt.sampling.sampling_params import SamplingParams

    from sagesched.plugin.wire import attach

    params = SamplingParams(max_new_tokens=max_output_tokens, temperature=0.0)
    params.normalize(None)
    attach(params, predicted, sent_s=sent_s, follows=follows)
    return TokenizedGenerateReqInput(
        rid=rid,
        input_text="",
        input_ids=array("q", prompt),
        input_embeds=None,
        mm_inputs=None,
        token_type_ids=None,
        sampling_params=params,
        return_logprob=False,
        logprob_start_len=-1,
        top_logprobs_num=0,
        token_ids_logprob=None,
        stream=True,
        time_stats=None,
    )
