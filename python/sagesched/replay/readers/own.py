"""Our own JSON lines, one request each; ``docs/traces.md`` has the schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sagesched.replay.prompts import BLOCK_TOKENS, Prompt
from sagesched.replay.readers import fields
from sagesched.replay.readers.base import Format, Head, Record, Tally, parsed

_KNOWN = {
    "arrival_s",
    "prompt",
    "prompt_tokens",
    "prompt_ids",
    "prefix_ids",
    "prefix_block_tokens",
    "output_tokens",
    "cluster",
    "tenant",
    "priority",
}
_LARGEST_ID = 2**31 - 1
_LARGEST_PRIORITY = 2**31 - 1


def _recognises(head: Head) -> bool:
    return "output_tokens" in head.first


def _prompt(key: str, line: fields.Object) -> Prompt:
    tokens = fields.whole(line, "prompt_tokens") if "prompt_tokens" in line else None
    blocks = fields.block_names(line, "prefix_ids") if "prefix_ids" in line else ()
    size = BLOCK_TOKENS
    if "prefix_block_tokens" in line:
        size = fields.whole(line, "prefix_block_tokens")
    if len(blocks) * size > fields.LONGEST:
        raise ValueError(f'"prefix_ids" comes to more than {fields.LONGEST} tokens')
    text = fields.text(line, "prompt", "")
    if "prompt_ids" in line:
        if blocks or text:
            raise ValueError('"prompt_ids" says it all: no "prompt" or "prefix_ids" beside it')
        return _of_ids(key, tokens, fields.sequence(line, "prompt_ids"))
    if tokens is None and not text:
        raise ValueError('needs "prompt" (not empty), "prompt_tokens" or "prompt_ids"')
    if tokens is not None and (len(blocks) - 1) * size >= tokens:
        raise ValueError(
            f'"prefix_ids" names {len(blocks)} blocks of {size} tokens, "prompt_tokens" is {tokens}'
        )
    pieces = (text,) if text else ()
    return Prompt(key, tokens, pieces, blocks=blocks, block_tokens=size)


def _of_ids(key: str, tokens: int | None, ids: list[object]) -> Prompt:
    if tokens not in (None, len(ids)):
        raise ValueError(f'"prompt_ids" has {len(ids)} ids, "prompt_tokens" is {tokens}')
    if not ids:
        raise ValueError('"prompt_ids" is empty')
    checked = tuple(
        fields.whole({"prompt_ids": each}, "prompt_ids", least=0, most=_LARGEST_ID) for each in ids
    )
    return Prompt(key, ids=checked)


def read(file: Path, tally: Tally) -> Iterator[Record]:
    """One request per line, read as it is asked for: the file may be larger than memory.

    Raises:
        TraceError: a malformed line.
    """

    def parse(number: int, text: str) -> Iterator[Record]:
        line = fields.json_object(text)
        for name in line.keys() - _KNOWN:
            tally.count(f'lines with the unknown field "{name}", not used')
        lowest = -_LARGEST_PRIORITY
        yield Record(
            f"line {number}",
            _prompt(f"{file.name}:{number}", line),
            fields.whole(line, "output_tokens"),
            fields.number(line, "arrival_s", least=0) if "arrival_s" in line else None,
            fields.text(line, "cluster", ""),
            fields.text(line, "tenant", ""),
            fields.whole(line, "priority", least=lowest, most=_LARGEST_PRIORITY)
            if "priority" in line
            else 0,
        )

    return parsed(file, parse, tally)


FORMAT = Format(
    "own",
    "JSON lines with arrival_s, prompt or prompt_tokens, output_tokens (docs/traces.md)",
    _recognises,
    read,
)
