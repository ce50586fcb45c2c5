"""Client of a worker process that holds one variant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.layouts.variants import Variant


class VariantProcess:
    """A variant, loaded in a process of its own until `end`."""

    def __init__(self, variant: Variant, folder: Path, device: str, slots: int) -> None:
        self.variant = variant
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.layouts.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if sys.stderr.isatty() else None,
            text=True,
        )
        self.sizes: dict[str, float] = self._ask(
            {
                "folder": str(folder),
                "dtype": variant.dtype,
                "quantize": variant.quantize,
                "kv_dtype": variant.kv_dtype,
                "device": device,
                "slots": slots,
            }
        )

    def write_logits(self, tokens: Path, logits: Path) -> None:
        """Along given tokens."""
        self._ask({"tokens": str(tokens), "logits": str(logits)})

    def step_ms(self, batch: int, steps: int) -> list[float]:
        """Milliseconds of each of that many steps, after one that does not count."""
        taken: list[float] = self._ask({"batch": batch, "steps": steps})
        return taken

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.variant.name}: the process ended, exit status {self._process.wait()}")
        return json.loads(answer)


class Sessions:
    """Its sessions in one batch, a contender of `benchmarks.offline.measure.interleaved`."""

    def __init__(self, process: VariantProcess, batch: int) -> None:
        self._process, self._batch = process, batch

    def run(self, steps: int) -> list[float]:
        return self._process.step_ms(self._batch, steps)

    def close(self) -> None:
        """Nothing to end: the sessions go with the process."""
