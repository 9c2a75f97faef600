"""``sagesched history``: look into a history file, take records out, put some in, delete some."""

from __future__ import annotations
