"""Which replicas are alive and make progress, from their reports and their sockets."""

from __future__ import annotations

STALLED_S, MOST_STALLED_S = 5.0, 30.0
"""A scheduler reports at every prefill, every few decode steps and while it idles. One that has
said nothing for so long is stopped, hangs or is in a very long step: it gets no more requests until
it reports again, unless that holds for all of them. Where reports are rare, it is ``GAPS`` of the
longest recent gap between them, up to the second number."""
GAPS, FORGETS = 3.0, 0.9
"""What was the longest gap is forgotten so far with each report."""


class Pulse:
    """Of each replica, whether it is gone, and when its last report came.

    Args:
        replicas: how many there are.
        now_s: time of any steady clock; they count as having reported now.
        stalled_s: how long one may say nothing.
    """

    def __init__(self, replicas: int, now_s: float, stalled_s: float = STALLED_S) -> None:
        self.stalled_s = stalled_s
        self.gone = [False] * replicas
        self._heard_s = [now_s] * replicas
        self._said = [0.0] * replicas
        self._gap_s = [0.0] * replicas

    def heard(self, index: int, timestamp: float, now_s: float) -> bool:
        """A report was read; whether it is another one than before."""
        if timestamp == self._said[index]:
            return False
        if self._said[index]:
            gap_s = now_s - self._heard_s[index]
            self._gap_s[index] = max(gap_s, FORGETS * self._gap_s[index])
        self._said[index] = timestamp
        self._heard_s[index] = now_s
        return True

    def lost(self, index: int) -> None:
        """It is gone, until the server is started anew."""
        self.gone[index] = True

    def fit(self, now_s: float) -> list[bool]:
        """Which replicas are to get requests: all that live where none of them reports."""
        alive = [not gone for gone in self.gone]
        beating = [
            ok and now_s - heard_s <= max(self.stalled_s, min(MOST_STALLED_S, GAPS * gap_s))
            for ok, heard_s, gap_s in zip(alive, self._heard_s, self._gap_s, strict=True)
        ]
        return beating if any(beating) else alive
