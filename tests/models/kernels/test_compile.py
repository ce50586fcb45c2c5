"""Every kernel compiles for sm_90 at Moshi's shapes, keeps its values in registers, and reads 16 bytes at a time."""

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
KERNELS = (
    "split_int8",
    "split_bf16",
    "split_mimi",
    "turn_and_write_int8",
    "turn_and_write_bf16",
    "combine",
    "choose_text",
    "choose_audio",
    "text_bias",
    "rms_norm",
    "silu_gate",
    "depth_attention",
)
# A block of keys and one of values: 32 vectors of 128 numbers, read by 32 threads.
LOADS_OF_16_BYTES = {"split_int8": 2 * 8, "split_bf16": 2 * 16}

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="no triton here: pip install triton"),
    pytest.mark.skipif(sys.platform != "linux", reason="ptxas comes with triton's wheel for Linux"),
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-m", "tests.models.kernels.compile_for_h100"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    found: dict[str, dict[str, Any]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_kernel_spills_registers(compiled: dict[str, dict[str, Any]], kernel: str) -> None:
    assert compiled[kernel]["spilled_bytes"] == 0, compiled[kernel]


@pytest.mark.parametrize(("kernel", "loads"), LOADS_OF_16_BYTES.items())
def test_keys_and_values_come_16_bytes_at_a_time(compiled: dict[str, dict[str, Any]], kernel: str, loads: int) -> None:
    assert compiled[kernel]["loads_of_16_bytes"] >= loads, compiled[kernel]


def test_no_kernel_is_left_out(compiled: dict[str, dict[str, Any]]) -> None:
    assert sorted(compiled) == sorted(KERNELS)
