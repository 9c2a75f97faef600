"""Which replica gets the next request: choosers for routers and controllers, pure and typed.

A chooser is told what is sent, what has ended and what replicas report, and chooses. It has no
clock, does no I/O and draws nothing at random but from a given seed; it may be used from one
thread, between the awaits of an event loop. ``docs/balance_deploy.md``.
"""

from sagesched.balance.base import Chooser
from sagesched.balance.kinds import NoReplica, Query, ReplicaLoad
from sagesched.balance.registry import chooser_names, make_chooser

__all__ = ["Chooser", "NoReplica", "Query", "ReplicaLoad", "chooser_names", "make_chooser"]
