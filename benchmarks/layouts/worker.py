"""Worker process of one variant, so that its memory is its own: JSON commands in, JSON answers out, by lines.

The first command says what to load: folder, dtype, quantize, kv_dtype, device, slots. The answer: weights_mb and
slot_mb as measured, weights_counted_mb and slot_counted_mb as the arithmetic says. Then `{"batch": B, "steps": N}` is
answered with milliseconds per step, and `{"tokens": FILE, "logits": FILE}` by writing logits along given tokens.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from moshi_cluster.models.loading import Part, resolve
from moshi_cluster.models.loading.inspect_lm import inspect_lm
from moshi_cluster.models.loading.lm import LmOptions, load_lm
from moshi_cluster.models.moshi_lm import Generator, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.sizes import slot_size
from moshi_cluster.models.moshi_lm.teacher import teacher_forced

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_CHUNK_FRAMES = 100
_MB = 1e6


def main() -> None:
    torch.set_num_threads(1)
    variant = _Variant(json.loads(sys.stdin.readline()))
    _say(variant.sizes())
    for line in sys.stdin:
        command = json.loads(line)
        if "tokens" in command:
            variant.write_logits(Path(command["tokens"]), Path(command["logits"]))
            _say({})
        else:
            _say(variant.step_ms(command["batch"], command["steps"]))


class _Variant:
    def __init__(self, command: dict[str, Any]) -> None:
        self._command = command
        self._device = torch.device(command["device"])
        self._checkpoint = resolve(command["folder"], parts=Part.LM)
        self._kv_dtype = _DTYPES[command["kv_dtype"] or command["dtype"]]
        self._load()  # what the first load brings into memory for good is not the weights'
        before_mb = self._memory_mb()
        self._lm = self._load()
        self._weights_mb = self._memory_mb() - before_mb
        self._generators: dict[int, Generator] = {}

    def sizes(self) -> dict[str, float]:
        assert self._checkpoint.lm_weights is not None  # Part.LM asked for them
        file = inspect_lm(self._checkpoint.lm_weights)
        return {
            "weights_mb": self._weights_mb,
            "weights_counted_mb": file.memory_bytes(self._command["dtype"], self._command["quantize"]) / _MB,
            "slot_mb": self._slot_mb(self._command["slots"]),
            "slot_counted_mb": slot_size(self._lm.config, None, self._kv_dtype).nbytes / _MB,
        }

    def step_ms(self, batch: int, steps: int) -> list[float]:
        """Milliseconds of each of `steps` steps of sessions that sample, after one that does not count."""
        if batch not in self._generators:
            self._generators[batch] = _sessions(self._lm, batch, self._kv_dtype)
        generator = self._generators[batch]
        codes = torch.randint(self._lm.config.card, (batch, self._lm.config.user_codebooks))
        taken = []
        for _ in range(steps + 1):
            start_s = self._clock_s()
            generator.step(range(batch), codes)
            taken.append(1000 * (self._clock_s() - start_s))
        return taken[1:]

    def write_logits(self, tokens: Path, logits: Path) -> None:
        given = load_file(tokens)
        forced = teacher_forced(self._lm, given["inputs"], given["raw"], self._kv_dtype)
        save_file({"text": forced.text_logits.cpu(), "audio": forced.audio_logits.cpu().contiguous()}, logits)

    def _load(self) -> MoshiLm:
        command = self._command
        return load_lm(self._checkpoint, _DTYPES[command["dtype"]], self._device, LmOptions(command["quantize"]))

    def _slot_mb(self, slots: int) -> float:
        before_mb = self._memory_mb()
        cache = self._lm.kv_cache(slots, dtype=self._kv_dtype)
        for tensor in (*cache.keys, *cache.values):
            tensor.fill_(1)  # memory that nobody has written to is not there yet
        return (self._memory_mb() - before_mb) / slots

    def _clock_s(self) -> float:
        """On a CPU the time of the one thread that computes: others may be using the machine."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.thread_time()

    def _memory_mb(self) -> float:
        gc.collect()
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device) / _MB
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # what was freed is not held
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / _MB


def _sessions(lm: MoshiLm, batch: int, kv_dtype: torch.dtype) -> Generator:
    generator = Generator(lm, batch, kv_dtype=kv_dtype)
    for slot in range(batch):
        generator.open(slot, Sampling(seed=slot))
        while generator.prefill(slot, _CHUNK_FRAMES):
            pass
    return generator


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
