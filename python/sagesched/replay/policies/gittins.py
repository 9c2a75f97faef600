"""The shipped policy: nothing of it is here, the plug-in runs inside the scheduler as in a server."""

from __future__ import annotations

from sagesched.replay.policies.base import Policy


class Gittins(Policy):
    """``--schedule-policy gittins``; its settings are the plug-in's environment variables."""

    name = flag = "gittins"
    source = "this package: sagesched.plugin"
    uses = "distribution"
    settings = {"dial": -1.0}  # -1: the plug-in's default
    variables = {"dial": "SAGESCHED_DIAL"}
