"""The SGLang releases this package is tested on."""

from __future__ import annotations

from importlib import metadata

SUPPORTED = ("0.5.20", "0.5.23")
"""The preferred one last."""


def sglang_version() -> str | None:
    """The installed SGLang release, or None when there is none."""
    try:
        return metadata.version("sglang")
    except metadata.PackageNotFoundError:
        return None


def advice(version: str) -> str:
    """What to do about an SGLang release that is not supported."""
    return (
        f"SGLang {version} is not tested with this sagesched; tested: {', '.join(SUPPORTED)}. "
        "Install a tested release (pip install sglang==" + SUPPORTED[-1] + "), or set "
        "SAGESCHED_ALLOW_UNTESTED_SGLANG=1 to go on: hooks are still verified."
    )
