"""What is known of a request beside its prompt."""

from __future__ import annotations

from dataclasses import dataclass

from sagesched.predict.features import NO_OPTIONS, Options


@dataclass(frozen=True)
class About:
    """Where a request comes from, and what it asks of its answer.

    Attributes:
        group: whatever shifts all lengths: model, adapter, route; "" where unknown.
        tenant: on whose behalf; "" where unknown.
        options: limits and the like, as far as they tell about the length.
    """

    group: str = ""
    tenant: str = ""
    options: Options = NO_OPTIONS


NOTHING_KNOWN = About()
