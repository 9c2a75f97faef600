"""What would each policy do to my traffic? SGLang's own scheduler, in virtual time.

Needs SGLang installed beside it, no GPU. ``sagesched replay --help``; how it works and how far it
is to be trusted: ``docs/replay.md``.
"""
