"""One variant in a process of its own, so that its memory is its own: reads a JSON command, prints a JSON answer.

Command: folder, dtype, quantize, kv_dtype, device, batches, steps, tokens (a safetensors file with `inputs` and `raw`)
and logits (the file to write). Answer: weights_mb, slot_mb, step_ms by batch.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.offline.measure import timed_steps
from models.loading import Part, resolve
from models.loading.lm import LmOptions, load_lm
from models.moshi_lm import Generator, MoshiLm, Sampling
from models.moshi_lm.sizes import slot_size
from models.moshi_lm.teacher import teacher_forced

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_CHUNK_FRAMES = 100
_WARM_STEPS = 3


def main() -> None:
    command: dict[str, Any] = json.load(sys.stdin)
    device = torch.device(command["device"])
    torch.set_num_threads(1)
    torch.ones(4, 4, device=device) @ torch.ones(4, 4, device=device)  # what torch itself takes comes before
    before_mb = _memory_mb(device)
    lm = load_lm(
        resolve(command["folder"], parts=Part.LM),
        _DTYPES[command["dtype"]],
        device,
        LmOptions(command["quantize"]),
    )
    gc.collect()
    weights_mb = _memory_mb(device) - before_mb
    kv_dtype = _DTYPES[command["kv_dtype"] or command["dtype"]]
    step_ms = {batch: _step_ms(lm, kv_dtype, batch, command["steps"]) for batch in command["batches"]}
    tokens = load_file(command["tokens"])
    forced = teacher_forced(lm, tokens["inputs"], tokens["raw"], kv_dtype)
    save_file({"text": forced.text_logits.cpu(), "audio": forced.audio_logits.cpu().contiguous()}, command["logits"])
    slot_mb = slot_size(lm.config, None, kv_dtype).nbytes / 1e6
    print(json.dumps({"weights_mb": weights_mb, "slot_mb": slot_mb, "step_ms": step_ms}))


def _step_ms(lm: MoshiLm, kv_dtype: torch.dtype, batch: int, steps: int) -> float:
    """Median of steps of sessions that sample, early in their calls."""
    generator = Generator(lm, batch, kv_dtype=kv_dtype)
    for slot in range(batch):
        generator.open(slot, Sampling(seed=slot))
        while generator.prefill(slot, _CHUNK_FRAMES):
            pass
    codes = torch.randint(lm.config.card, (batch, lm.config.user_codebooks))
    for _ in range(_WARM_STEPS):
        generator.step(range(batch), codes)
    return statistics.median(timed_steps(lambda: generator.step(range(batch), codes), steps, torch.device(lm.device)))


def _memory_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


if __name__ == "__main__":
    main()
