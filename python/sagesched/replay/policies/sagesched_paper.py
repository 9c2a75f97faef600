"""SageSched as published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sagesched.replay.policies.base import Release
from sagesched.replay.policies.gittins_soft import GittinsSoft


class SageSchedPaper(GittinsSoft):
    """Gittins index of ``O^2/2 + I*O``, preemption by swapping KV to the host, free of charge.

    The index is refreshed at every 200 tokens (10 buckets over outputs of 2,000). With
    ``--predictor shipped`` it is told what its own, published predictor says
    (:class:`sagesched.replay.predictors.Published`); with another one, what everybody is told.

    Left open in the paper, and how it is done here: whether a waiting request must be better by a
    margin (no), how many are preempted at once (any number), what becomes of outputs beyond the
    last bucket (the refresh goes on), the time that moving KV takes (none). In the paper a request
    rejoins the batch at no cost; here that takes a prefill step, which is dear without mixed
    prefill.
    """

    name = "sagesched-paper"
    source = "SageSched (arXiv 2603.07917, section 3.2); swap free, as stated there"
    own_predictor: ClassVar[str] = "published"
    release: ClassVar[Release] = "swap"
    swap_is_free: ClassVar[bool] = True
    settings: ClassVar[Mapping[str, float]] = {
        "margin": 1.0,
        "most_victims": 4096.0,
        "refresh_tokens": 200.0,
    }


class SageSchedPaperCharged(SageSchedPaper):
    """The same; moved KV is charged by the step-time model (25 GB/s in the presets).

    All of a victim's KV is charged, out and in, as in an engine without a radix cache.
    """

    name = "sagesched-paper-25GB"
    source = "SageSched (arXiv 2603.07917, section 3.2); swap charged"
    swap_is_free: ClassVar[bool] = False
