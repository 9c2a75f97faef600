"""The shipped policy: nothing of it is here, the plug-in runs as in a server."""

from __future__ import annotations

import math
from typing import ClassVar

from sagesched.replay.policies.base import Policy


class Gittins(Policy):
    """``--schedule-policy gittins``; its settings are the plug-in's environment variables."""

    name = flag = "gittins"
    source = "this package: sagesched.plugin"
    uses = "distribution"
    settings: ClassVar = {"dial": -1.0, "parked_s": -1.0}  # -1: the plug-in's default
    limits: ClassVar = {"dial": (0.0, math.inf), "parked_s": (0.0, math.inf)}
    variables: ClassVar = {"dial": "SAGESCHED_DIAL", "parked_s": "SAGESCHED_PARKED_S"}
