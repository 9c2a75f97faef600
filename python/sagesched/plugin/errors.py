"""The one error that must stop a server."""

from __future__ import annotations


class NotInForceError(RuntimeError):
    """The policy was asked for and cannot be in force; the message says what to do."""
