"""SGLang's own policies: the flag is all there is to them."""

from __future__ import annotations

from sagesched.replay.policies.base import Policy

SOURCE = "SGLang, managers/schedule_policy.py; its own code runs"


class Fcfs(Policy):
    """First come, first served."""

    name = "fcfs"
    source = SOURCE


class Lpm(Policy):
    """Longest prefix match; SGLang itself falls back to fcfs above 128 waiting requests."""

    name = flag = "lpm"
    source = SOURCE


class DfsWeight(Policy):
    """Depth-first by the weight of the radix tree's branches."""

    name = flag = "dfs-weight"
    source = SOURCE


class Hrrn(Policy):
    """Highest response ratio next, in processed tokens."""

    name = flag = "hrrn"
    source = SOURCE


class ShortestPrefillFirst(Policy):
    """Shortest prompt first."""

    name = flag = "shortest-prefill-first"
    source = SOURCE


class Lof(Policy):
    """Longest max_new_tokens first: with the same limit for all, arrival order."""

    name = flag = "lof"
    source = SOURCE
