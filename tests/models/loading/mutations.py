"""Files that are broken in some way: cut short, scribbled on, or with a header that lies."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]
_SIZES: tuple[Any, ...] = (0, 1, -1, 7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 64, None, "8", 1.5, True, [], {})


def cut_short(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def made_longer(content: bytes, chance: random.Random) -> bytes:
    return content + chance.randbytes(chance.choice((1, 32, 4096)))


def scribbled_on(content: bytes, chance: random.Random) -> bytes:
    """Random bytes anywhere, mostly among values: they must load or be refused."""
    return _scribble(content, chance, len(content))


def header_scribbled_on(content: bytes, chance: random.Random) -> bytes:
    return _scribble(content, chance, min(len(content), _header_end(content)))


def another_header_length(content: bytes, chance: random.Random) -> bytes:
    length = chance.choice((0, 1, 8, len(content), len(content) * 2, 1 << 31, 1 << 40, (1 << 64) - 1))
    return length.to_bytes(8, "little") + content[8:]


def a_hole(content: bytes, chance: random.Random) -> bytes:
    """Some bytes are missing in the middle."""
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.choice((1, 2, 64, 1000)) :]


def lying_header(content: bytes, chance: random.Random) -> bytes:
    """A safetensors header with one impossible, missing, doubled or renamed entry."""
    end = _header_end(content)
    try:
        header = json.loads(content[8:end])
    except ValueError:
        return header_scribbled_on(content, chance)
    name = chance.choice(sorted(header))
    match chance.randrange(6):
        case 0:
            header[name]["shape"] = [chance.choice(_SIZES) for _ in range(chance.randrange(4))]
        case 1:
            header[name]["data_offsets"][chance.randrange(2)] = chance.choice(_SIZES)
        case 2:
            header[name]["dtype"] = chance.choice(("F64", "F32", "BF16", "I8", "U32", "BOOL", "F4", "", 7, None))
        case 3:
            del header[name]
        case 4:
            header[chance.choice(("x", name + "_scb", name[:-1], "a" * 100_000))] = header.pop(name)
        case _:
            header[name] = chance.choice((None, [], {}, 1, "x", [[[[]]]]))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[end:]


def deep_header(content: bytes, chance: random.Random) -> bytes:
    """A header that is nothing but nesting."""
    depth = chance.choice((10, 10_000, 400_000))
    text = b'{"a":' + b"[" * depth
    return len(text).to_bytes(8, "little") + text + content


def something_else(content: bytes, chance: random.Random) -> bytes:
    beginnings = (b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 16, b"<!DOCTYPE html>")
    return chance.choice(beginnings) + chance.randbytes(chance.choice((0, 3, 1000)))


MUTATIONS: tuple[Mutation, ...] = (
    cut_short,
    made_longer,
    scribbled_on,
    header_scribbled_on,
    another_header_length,
    a_hole,
    lying_header,
    lying_header,
    deep_header,
    something_else,
)


def _scribble(content: bytes, chance: random.Random, end: int) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[chance.randrange(end)] = chance.randrange(256)
    return bytes(changed)


def _header_end(content: bytes) -> int:
    if content[:4] == b"GGUF":
        return 4096
    return 8 + int.from_bytes(content[:8], "little")
