"""A soak: many requests against a real server that is short of memory, and nothing may be lost."""
