"""From weighted, partly censored lengths to a distribution: the beta-Stacy posterior.

The discrete beta-Stacy process (Walker and Muliere, Annals of Statistics 25, 1997) is the
conjugate prior of a distribution seen through right-censored observations. Its posterior mean is
a Kaplan-Meier estimate whose hazards are shrunk towards those of the prior:

    hazard_k = (d_k + s * prior_k) / (n_k + s * priorS_k)

    d_k       weight of the requests that ended in bin k
    n_k       weight of the requests known to have reached bin k
    prior_k   prior probability of bin k;  priorS_k = prior_j summed over j >= k
    s         strength of the prior, in observations

Beyond the longest length seen n_k is zero, so the hazard there is the prior's own and its tail
continues the estimate.
"""

from __future__ import annotations

import numpy as np

from sagesched.lengths import Floats


def tail_sums(values: Floats) -> Floats:
    """`result[..., k]` = sum of `values[..., j]` over j >= k, exact in the far tail."""
    sums: Floats = np.cumsum(values[..., ::-1], axis=-1)[..., ::-1]
    return sums


def posterior(events: Floats, censored: Floats, prior: Floats, strength: float) -> Floats:
    """Posterior mean of the length distribution, one row per request.

    Args:
        events: [..., m] weight of finished requests by the bin they ended in.
        censored: [..., m] weight of unfinished requests by the first bin they may still end in;
            they count as at risk in the bins before it.
        prior: [m] or [..., m], positive, sums to 1.
        strength: weight of the prior in observations, positive.

    Returns:
        float64[..., m]; each row sums to 1.
    """
    at_risk = tail_sums(events + censored) - censored
    hazard = (events + strength * prior) / (at_risk + strength * tail_sums(prior))
    hazard = np.clip(hazard, 0.0, 1.0)
    hazard[..., -1] = 1.0  # nothing outlives the grid
    reached = np.ones_like(hazard)
    np.cumprod(1.0 - hazard[..., :-1], axis=-1, out=reached[..., 1:])
    pmf = hazard * reached
    normalised: Floats = pmf / pmf.sum(axis=-1, keepdims=True)
    return normalised
