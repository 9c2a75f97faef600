"""The history on disk: what was learned survives a restart, and several processes share it.

One SQLite file (WAL) holds finished requests. A thread beside the prediction worker is the only
one that touches the disk while requests are served. docs/history.md says what is promised.
"""

from __future__ import annotations
