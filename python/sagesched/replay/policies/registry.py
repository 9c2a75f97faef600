"""Every policy that ``--policies`` knows, by name: one small file each in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from sagesched.replay import policies
from sagesched.replay.policies.base import Policy


@cache
def all_policies() -> dict[str, type[Policy]]:
    """Name to class, for every ``Policy`` with a name in this folder's modules."""
    for module in pkgutil.iter_modules(policies.__path__):
        importlib.import_module(f"{policies.__name__}.{module.name}")
    found = {}
    todo = list(Policy.__subclasses__())
    while todo:
        made = todo.pop()
        todo += made.__subclasses__()
        if "name" in vars(made):
            found[made.name] = made
    return dict(sorted(found.items()))


def policy_class(name: str) -> type[Policy]:
    """The policy of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    known = all_policies()
    if name not in known:
        raise ValueError(f"--policies: there is no {name}; known are {', '.join(known)}")
    return known[name]
