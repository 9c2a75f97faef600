"""Names that others chose, made fit to print."""

from __future__ import annotations

LONGEST = 40


def shown(name: str, most: int = LONGEST) -> str:
    """A name on one line, at most so long: what is not printable is escaped, so that it can
    neither forge a line nor command the terminal."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name[:most])
    return text if len(text) <= most and len(name) <= most else f"{text[: most - 3]}..."
