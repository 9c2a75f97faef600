"""Mooncake's traces: JSON lines with hashes of the prompt's 512-token blocks.

Source: https://github.com/kvcache-ai/Mooncake (FAST'25 release). A hash covers the block and all
before it, so requests with equal hashes share that prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sagesched.replay.prompts import BLOCK_TOKENS, Prompt
from sagesched.replay.readers.base import Format, Head, Record, Tally, parsed
from sagesched.replay.readers.fields import block_names, json_object, number, whole


def _recognises(head: Head) -> bool:
    return "input_length" in head.first and "output_length" in head.first


def read(file: Path, tally: Tally) -> Iterator[Record]:
    """One request per line.

    Raises:
        TraceError: a malformed line.
    """

    def parse(line_number: int, line: str) -> Iterator[Record]:
        fields = json_object(line)
        tokens = whole(fields, "input_length")
        blocks = block_names(fields, "hash_ids") if "hash_ids" in fields else ()
        if len(blocks) > -(-tokens // BLOCK_TOKENS):
            raise ValueError(
                f'"hash_ids" names {len(blocks)} blocks of {BLOCK_TOKENS} tokens, more than '
                f'"input_length" {tokens} has; for other block sizes write our own JSON lines, '
                "with prefix_ids and prefix_block_tokens"
            )
        prompt = Prompt(f"{file.name}:{line_number}", tokens, blocks=blocks)
        seconds = number(fields, "timestamp") / 1e3
        yield Record(f"line {line_number}", prompt, whole(fields, "output_length"), seconds)

    return parsed(file, parse, tally)


FORMAT = Format(
    "mooncake",
    "JSON lines with timestamp (ms), input_length, output_length, hash_ids",
    _recognises,
    read,
)
