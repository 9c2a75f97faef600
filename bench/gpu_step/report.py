"""Fits."""

from typing import Any


def markdown(found: dict[str, Any]) -> str:
    """Later."""
    return ""
