"""Compiles every kernel at Moshi's shapes for sm_90, without a card, and prints what ptxas says of it as JSON.

A process of its own: where the interpreter was asked for, kernels cannot be compiled.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from moshi_cluster.models.kernels.compiled import choose, depth_attention, elementwise, ring_attention, text_bias
from moshi_cluster.models.kernels.ring_attention import SPLIT_PLACES

TARGET = GPUTarget("cuda", 90, 32)
HEADS, D, CAPACITY, CONTEXT = 32, 128, 3072, 3000
SPLITS = CAPACITY // SPLIT_PLACES
INTEGERS = ("slots", "positions", "seeds", "calls", "top_ks", "forced", "spoken", "counts", "remembered", "out_token")
DOUBLES = ("temperatures", "penalties", "paddings")
FLOATS = ("key_scales", "value_scales", "sums", "weights", "turns", "alpha", "buffer")
NUMBERS = {"eps": "fp32", "scale": "fp32"}


def kernels() -> dict[str, tuple[Any, dict[str, Any], dict[str, str], int]]:
    """Name -> kernel, its constants, types of the pointers whose type is not told by their name, warps."""
    made: dict[str, tuple[Any, dict[str, Any], dict[str, str], int]] = {}
    for kind, stored in (("int8", "*i8"), ("bf16", "*bf16")):
        rings = {"keys": stored, "values": stored}
        sizes = {"HEADS": HEADS, "CAPACITY": CAPACITY, "D": D, "INT8": kind == "int8"}
        split = {"CONTEXT": CONTEXT, "SPLIT_": SPLIT_PLACES, "SPLITS": SPLITS, "BLOCK_": ring_attention.BLOCK}
        made[f"split_{kind}"] = ring_attention.split_kernel, sizes | split, rings, ring_attention.WARPS
        made[f"turn_and_write_{kind}"] = ring_attention.turn_and_write_kernel, sizes, rings, 1
    mimi = {"HEADS": 8, "CAPACITY": 250, "CONTEXT": 249, "D": 64, "INT8": False}
    mimi |= {"SPLIT_": SPLIT_PLACES, "SPLITS": 1, "BLOCK_": ring_attention.BLOCK}
    floats = {"q_at": "*fp32", "keys": "*fp32", "values": "*fp32"}
    made["split_mimi"] = ring_attention.split_kernel, mimi, floats, ring_attention.WARPS
    whole = {
        "HEADS": HEADS,
        "CAPACITY": CAPACITY,
        "D": D,
        "SPLIT_": SPLIT_PLACES,
        "SPLITS": SPLITS,
        "PADDED": 8,
    }
    made["combine"] = ring_attention.combine_kernel, whole, {}, 1
    for name, vocabulary, type_ in (("text", 32000, "*fp32"), ("audio", 2048, "*bf16")):
        constants = {"VOCABULARY": vocabulary, "TILE_": choose.TILE}
        made[f"choose_{name}"] = choose.choose_kernel, constants, {"logits": type_, "out": "*i64"}, 4
    ring = {"VOCABULARY": 32000, "PLACES": 200, "PADDED": 256}
    made["text_bias"] = text_bias.text_bias_kernel, ring, {"out": "*fp32"}, 1
    made["rms_norm"] = elementwise.rms_norm_kernel, {"WIDTH": 4096, "PADDED": 4096}, {}, 8
    made["silu_gate"] = elementwise.silu_gate_kernel, {"WIDTH": 11264, "TILE_": 1024}, {}, 4
    depth = {"HEADS": 16, "STEPS": 8, "STEPS_PADDED": 8, "D": 64, "D_PADDED": 64}
    made["depth_attention"] = depth_attention.depth_attention_kernel, depth, {}, 1
    return made


def compiled(kernel: Any, constants: dict[str, Any], types: dict[str, str], warps: int) -> dict[str, Any]:
    """Registers, bytes that were spilled, and how often the PTX has loads of each width."""
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name) or _type(name) for name in names}
    attributes = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(
        kernel, signature, {(names.index(name),): value for name, value in constants.items()}, attributes
    )
    ptx = triton.compile(source, target=TARGET, options={"num_warps": warps}).asm["ptx"]
    said = _ptxas(ptx)
    spilled = sum(int(count) for count in re.findall(r"(\d+) bytes spill", said))
    registers = max(int(count) for count in re.findall(r"Used (\d+) registers", said))
    return {
        "registers": registers,
        "spilled_bytes": spilled,
        "loads_of_16_bytes": len(re.findall(r"ld\.global\S*\.v4\.b32", ptx)),
    }


def _type(name: str) -> str:
    if name in INTEGERS:
        return "*i64"
    if name in DOUBLES:
        return "*fp64"
    if name in FLOATS:
        return "*fp32"
    return NUMBERS.get(name) or (
        "i32" if name in ("stream", "step", "padding_id") or name.endswith("stride") else "*bf16"
    )


def _ptxas(ptx: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(ptx)
        command = [get_ptxas(90).path, "-v", "-arch=sm_90a", str(file), "-o", str(file.with_suffix(".cubin"))]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({name: compiled(*parts) for name, parts in kernels().items()}))
