"""File descriptors: how many the router may have, and when it has none left."""

from __future__ import annotations

import errno
import resource

from sagesched.gateway.config import RouteConfig

OUT = "the router can open no connection: no file descriptor is left (see its limit, ulimit -n)"
"""For clients, the log and `/replicas`."""
SPARE = 256
"""For polls, the log, the event loop, name look-ups, outcomes on their way to a predictor."""


def needed(config: RouteConfig, connections: int) -> int:
    """Descriptors with as many requests in progress as the settings allow.

    Requests of information routes and connections that are kept for the next request (2 s) come on
    top; `SPARE` has room for some.

    Args:
        connections: those that clients may hold.
    """
    per_request = 1 if config.predictor is None else 2  # to its replica, to the predictor
    return connections + per_request * config.max_inflight + len(config.replicas) + SPARE


def raise_limit(wanted: int) -> str:
    """Raise the process's soft limit to its hard one where it is below ``wanted`` descriptors.

    Returns:
        A warning for the operator where that is not enough, else "".
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _reaches(soft, wanted):
        return ""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # a system may allow less than the hard limit says
        hard = soft
    if _reaches(hard, wanted):
        return ""
    return (
        f"the limit of file descriptors is {hard}, and {wanted} are needed when everything is in "
        "use; beyond it requests are answered 503. Raise the hard limit (ulimit -Hn, systemd's "
        "LimitNOFILE=, Docker's --ulimit nofile=) or lower --max-inflight and --max-queue"
    )


def _reaches(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted


def are_out(error: BaseException) -> bool:
    """Whether it comes from a lack of our own descriptors, or of the whole machine's.

    httpx and anyio wrap the system's error several times, and in a group where a name has several
    addresses; so the whole chain is looked through.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.errno in (errno.EMFILE, errno.ENFILE):
            return True
        left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return False
