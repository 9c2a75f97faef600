"""A process that serves HTTP: a socket, a uvicorn server on it, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

GRACE_S = 5
"""Requests in progress may take so long after a signal to stop."""
MOST_CONNECTIONS = 2048
"""Beyond that the answer is 503: each of them may hold a body."""
KEEP_ALIVE_S = 75
"""Longer than gateways keep idle connections, so that they close them and not we."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address cannot be listened on; the message names it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot listen on {host} port {port}: {reason}") from None


def url_of(listening: socket.socket) -> str:
    """With the port that was taken."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Any,
    listening: socket.socket,
    *,
    grace_s: int = GRACE_S,
    most_connections: int = MOST_CONNECTIONS,
) -> None:
    """Serve an ASGI application until SIGTERM or SIGINT, finish what is in progress, return."""
    config = uvicorn.Config(
        app,
        access_log=False,  # a client may write anything into a URL
        log_config=None,
        server_header=False,
        lifespan="on",
        limit_concurrency=most_connections,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
    )
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends normally after a signal; uvicorn's own raises it again, so the process is killed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self.handle_exit, stop, None)
        yield
