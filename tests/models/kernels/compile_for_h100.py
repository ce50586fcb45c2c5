"""Compiles every kernel that the static steps of Moshi and Mimi launch for sm_90, without memory and without a card.

As they are launched, at both ends of the buckets. Prints as JSON what ptxas says of each.

A process of its own: where the interpreter was asked for, kernels cannot be compiled.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas

from benchmarks.offline.model_sizes import MODEL_SIZES
from benchmarks.offline.random_on_device import on_device
from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.models.mimi.static import static_decoder, static_encoder
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.static.step import StaticStep

META = torch.device("meta")
OPERATORS = {
    "choose": ["choose"],
    "depth_attention": ["depth_attention"],
    "elementwise": ["rms_norm", "silu_gate"],
    "ring_attention": ["ring_attention", "turn_and_write"],
    "text_bias": ["text_bias"],
}
BUCKETS = (16, 192)


class CompilingDriver:
    """A card for Triton that is none: kernels are compiled for it and not run."""

    def __init__(self) -> None:
        self.utils = self
        self.compiled: list[dict[str, Any]] = []
        self._source: Any = None

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 232_448}

    def load_binary(self, *_: object) -> tuple[int, int, int, int, int]:
        return 1, 1, 0, 0, 1024

    def unload_module(self, module: int) -> None:
        """There is none."""

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        self._source = source
        return lambda *_: None

    def loaded(self, module: int, function: int, name: str, files: Mapping[str, str], hash_: str) -> None:
        """Triton's hook after each kernel."""
        names = self._source.fn.arg_names
        constants = {names[path[0]]: value for path, value in self._source.constants.items()}
        ptx = next(Path(path) for path in files.values() if path.endswith(".ptx")).read_text()
        self.compiled.append({"kernel": name, "constants": constants, **figures(ptx)})


def launch_everything() -> None:
    """Every bucket of every step once."""
    lm = MoshiLm.from_tensors(on_device(MOSHI_7B, META), LmConfig.from_dict(MOSHI_7B), device=META)
    for kv_dtype in (torch.int8, torch.bfloat16):
        StaticStep(lm, 160, kv_dtype=kv_dtype, buckets=BUCKETS).warm()
    size = next(size for size in MODEL_SIZES if size.kind == "mimi" and size.config["seanet"]["n_filters"] == 64)
    mimi = Mimi.from_tensors(size.tensors(META), MimiConfig.from_dict(size.config), device=META)
    for half in (static_encoder, static_decoder):
        half(mimi, 128, BUCKETS).warm()


def take_compiled_kernels() -> None:
    """On the meta device operators do what they do on CUDA."""
    for module, names in OPERATORS.items():
        operators, compiled = (
            importlib.import_module(f"moshi_cluster.models.kernels.{path}{module}") for path in ("", "compiled.")
        )
        for name in names:
            getattr(operators, name).register_fake(getattr(compiled, name))


def figures(ptx: str) -> dict[str, int]:
    """Registers, bytes that were spilled, loads of 16 bytes, and copies of them that go on beside the arithmetic."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(ptx)
        command = [get_ptxas(90).path, "-v", "-arch=sm_90a", str(file), "-o", str(file.with_suffix(".cubin"))]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    return {
        "registers": max(int(count) for count in re.findall(r"Used (\d+) registers", said)),
        "spilled_bytes": sum(int(count) for count in re.findall(r"(\d+) bytes spill", said)),
        "loads_of_16_bytes": len(re.findall(r"ld\.global\S*\.v4\.b32", ptx)),
        "copies_of_16_bytes": len(re.findall(r"cp\.async\.cg\.shared\.global.*0x10,", ptx)),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    driver = CompilingDriver()
    triton.runtime.driver.set_active(driver)
    triton.knobs.runtime.kernel_load_end_hook = driver.loaded
    take_compiled_kernels()
    launch_everything()
    print(json.dumps(driver.compiled))
