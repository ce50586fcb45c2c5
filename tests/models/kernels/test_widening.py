"""The instructions that make numbers of 8-bit codes, carried out one by one: the interpreter knows none of them."""

from __future__ import annotations

import re
import struct

import pytest

pytest.importorskip("triton", reason="no triton here: pip install triton")

from moshi_cluster.models.kernels.compiled.ring_attention import _WIDEN

INSTRUCTION = re.compile(r"(xor\.b32|prmt\.b32|mov\.b32|add\.rn\.f32) ([^;]+);")


def carried_out(codes: list[int], text: str = _WIDEN.value) -> list[float]:
    """Four codes in one register, a number in each of four others."""
    registers = {"$4": int.from_bytes(bytes(code & 255 for code in codes), "little")}
    for operation, arguments in INSTRUCTION.findall(text):
        target, *sources = [each.strip() for each in arguments.split(",")]
        registers[target] = _result(operation, [_value(registers, source) for source in sources])
    return [_number(registers[f"${index}"]) for index in range(4)]


def _result(operation: str, values: list[int]) -> int:
    if operation == "xor.b32":
        return values[0] ^ values[1]
    if operation == "mov.b32":
        return values[0]
    if operation == "add.rn.f32":
        return int.from_bytes(struct.pack("<f", _number(values[0]) + _number(values[1])), "little")
    both = values[0].to_bytes(4, "little") + values[1].to_bytes(4, "little")
    return int.from_bytes(bytes(both[values[2] >> 4 * place & 7] for place in range(4)), "little")


def _value(registers: dict[str, int], source: str) -> int:
    if source in registers:
        return registers[source]
    return int(source[2:], 16) if source.startswith("0f") else int(source, 0)


def _number(bits: int) -> float:
    return float(struct.unpack("<f", bits.to_bytes(4, "little"))[0])


def test_every_code_becomes_its_number_in_every_place() -> None:
    for code in range(-128, 128):
        codes = [code, -code - 1, (7 * code) % 127, -128]
        assert carried_out(codes) == codes


@pytest.mark.parametrize(
    ("right", "wrong"), [("0x7441", "0x7442"), ("0fCB000080", "0fCB000000"), ("0x80808080", "0x0")]
)
def test_a_wrong_instruction_is_seen(right: str, wrong: str) -> None:
    assert right in _WIDEN.value
    assert carried_out([1, 2, 3, 4], _WIDEN.value.replace(right, wrong)) != [1, 2, 3, 4]
