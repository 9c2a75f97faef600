"""SageSched as published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sagesched.replay.policies.base import Release
from sagesched.replay.policies.gittins_soft import GittinsSoft


class SageSchedPaper(GittinsSoft):
    """Gittins index of ``O^2/2 + I*O``, preemption by swapping KV to the host, free of charge.

    The index is refreshed at every 200 tokens (10 buckets over outputs of 2,000). The paper
    predicts by past prompts of a cosine similarity of 0.8 and more, unweighted: here the
    prediction comes from ``--predictor``, the same for every policy.

    Left open in the paper, and how it is done here: whether a waiting request must be better by a
    margin (no), how many are preempted at once (any number), what becomes of outputs beyond the
    last bucket (the refresh goes on), the time that moving KV takes (none).
    """

    name = "sagesched-paper"
    source = "SageSched (arXiv 2603.07917, section 3.2); swap free, as stated there"
    release: ClassVar[Release] = "swap"
    swap_is_free: ClassVar[bool] = True
    settings: ClassVar[Mapping[str, float]] = {
        "margin": 1.0,
        "most_victims": 4096.0,
        "refresh_tokens": 200.0,
    }


class SageSchedPaperCharged(SageSchedPaper):
    """The same; moved KV is charged by the step-time model (25 GB/s in the presets)."""

    name = "sagesched-paper-25GB"
    source = "SageSched (arXiv 2603.07917, section 3.2); swap charged"
    swap_is_free: ClassVar[bool] = False
