"""Every kernel that the static steps launch compiles for sm_90, keeps its values in registers, and reads 16 bytes at a
time."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
KERNELS = {
    "split_kernel",
    "turn_and_write_kernel",
    "combine_kernel",
    "choose_kernel",
    "text_bias_kernel",
    "rms_norm_kernel",
    "silu_gate_kernel",
    "depth_attention_kernel",
}
# A block of keys and one of values: 32 vectors of 128 numbers, read by 32 threads; of 64 numbers of Mimi's.
READS_OF_16_BYTES = {(128, True): 2 * 8, (128, False): 2 * 16, (64, False): 2 * 16}
AHEAD = {(128, True): 3, (128, False): 3, (64, False): 0}  # places in the code that begin to copy a block; 0: loads

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="no triton here: pip install triton"),
    pytest.mark.skipif(sys.platform != "linux", reason="ptxas comes with triton's wheel for Linux"),
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-m", "tests.models.kernels.compile_for_h100"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def test_no_kernel_is_left_out(compiled: list[dict[str, Any]]) -> None:
    assert {each["kernel"] for each in compiled} == KERNELS


def test_no_kernel_spills_registers(compiled: list[dict[str, Any]]) -> None:
    assert [each for each in compiled if each["spilled_bytes"]] == []


def test_keys_and_values_come_16_bytes_at_a_time(compiled: list[dict[str, Any]]) -> None:
    splits = [each for each in compiled if each["kernel"] == "split_kernel"]
    assert {_kind(each) for each in splits} == set(READS_OF_16_BYTES)
    for split in splits:
        wanted, ahead = READS_OF_16_BYTES[_kind(split)], AHEAD[_kind(split)]
        copies, loads = split["copies_of_16_bytes"], split["loads_of_16_bytes"]
        assert (copies == ahead * wanted) if ahead else (copies == 0 and loads >= wanted), split


def _kind(split: dict[str, Any]) -> tuple[int, bool]:
    """Width of a head, and whether there are 8-bit keys and values."""
    return split["constants"]["D"], split["constants"]["INT8"]
