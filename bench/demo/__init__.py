"""The demo: a real SGLang server, real HTTP, the same requests under one policy after another.

Run it with ``scripts/demo``; ``bench/README.md`` says what it measures and how.
"""
