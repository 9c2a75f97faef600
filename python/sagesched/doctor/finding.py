"""What the report is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        state: what was found.
        advice: what to do about it; empty when all is well.
        fatal: whether the policy cannot be in force with this.
    """

    subject: str
    state: str
    advice: str = ""
    fatal: bool = False
