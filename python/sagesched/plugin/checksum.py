"""A debugging aid: do all ranks order alike? (``SAGESCHED_DEBUG_ORDER=1``)

Every scheduler process keeps a checksum of all it decided so far: the requests at the front of the
queue and those that run, pass by pass. It logs it after 1, 2, 4, ... passes and then after every
``EVERY``; with one after the same number of passes, ranks of one replica must log the same.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from typing import Any

EVERY = 1024
logger = logging.getLogger("sagesched")


class OrderChecksum:
    """Of one scheduler process."""

    def __init__(self) -> None:
        self.passes = 0
        self.value = 0

    def note(self, front: Sequence[Any], running: Sequence[Any]) -> None:
        """A pass was ordered: who is at the front, best first, and who runs."""
        text = "\n".join([*(r.rid for r in front), "", *(r.rid for r in running)])
        self.value = zlib.crc32(text.encode(), self.value)
        self.passes += 1
        if self.passes % EVERY == 0 or self.passes & (self.passes - 1) == 0:
            logger.info("sagesched: order checksum %08x after %d passes", self.value, self.passes)
