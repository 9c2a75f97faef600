"""The shipped LARRY: nothing of it is here, the plug-in runs as in a server."""

from __future__ import annotations

import math
from typing import ClassVar

from sagesched.replay.policies.base import Policy


class Larry(Policy):
    """``--schedule-policy larry``; its settings are the plug-in's environment variables."""

    name = flag = "larry"
    source = "this package, sagesched.plugin.larry: LARRY (arXiv 2410.17840) reconstructed"
    settings: ClassVar = {"dial": -1.0}  # -1: the plug-in's default
    limits: ClassVar = {"dial": (0.0, math.inf)}
    variables: ClassVar = {"dial": "SAGESCHED_DIAL"}
