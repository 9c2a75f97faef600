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
    settings: ClassVar = {  # -1: the plug-in's default
        "dial": -1.0,
        "parked_s": -1.0,
        "forecast": -1.0,
        "kv_cost": -1.0,
    }
    limits: ClassVar = {
        "dial": (0.0, math.inf),
        "parked_s": (0.0, math.inf),
        "forecast": (0.0, 1.0),
        "kv_cost": (0.0, 1.0),
    }
    variables: ClassVar = {
        "dial": "SAGESCHED_DIAL",
        "parked_s": "SAGESCHED_PARKED_S",
        "forecast": "SAGESCHED_ADMISSION",
        "kv_cost": "SAGESCHED_COST",
    }
    choices: ClassVar = {
        "forecast": ("stock", "forecast"),
        "kv_cost": ("1,0,0", "0,1,0"),  # output tokens alone; KV tokens x steps alone
    }
