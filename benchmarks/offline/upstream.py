"""Upstream contender: the original implementation in a process of its own, because its package pins other versions."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

_SCRIPT = Path(__file__).with_name("upstream_side.py")
_ENVIRONMENT = {
    "NO_TORCH_COMPILE": "1",  # its own advice for CPU
    # Keep freed memory: its largest temporaries otherwise come from the kernel page by page in every step, which
    # doubles its time where it copies whole caches. Ours takes the same time with and without.
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}


class UpstreamError(Exception):
    """The other interpreter has no usable package, or a command failed there."""


class Upstream:
    """One process, one model at a time, one set of sessions at a time."""

    def __init__(self, python: str, threads: int) -> None:
        """python: an interpreter whose environment has PyPI's `moshi`. Raises UpstreamError."""
        self._threads = threads
        environment = os.environ | _ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)}
        try:
            self._process = subprocess.Popen(
                [python, str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise UpstreamError(f"{python}: {error.strerror}") from error
        self.versions: dict[str, str] = self.ask("hello")

    def load(self, kind: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Loads a model's weights over there, through a file. kind: lm or mimi. Raises UpstreamError."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            save_file(dict(tensors), path)
            self.ask("load", kind=kind, weights=str(path), config=dict(config), threads=self._threads)

    def sessions(self, batch: int) -> UpstreamSessions:
        """`batch` sessions of the loaded model. Raises UpstreamError."""
        self.ask("open", batch=batch)
        return UpstreamSessions(self)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command, one answer. Raises UpstreamError."""
        if self._process.stdin is None or self._process.stdout is None:
            raise UpstreamError("no pipe")
        try:
            print(json.dumps({"command": command} | arguments), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UpstreamError("the other interpreter ended; what it printed is above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UpstreamError(f"upstream's {command}: {answer['error']}")
        return answer

    def __enter__(self) -> Upstream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


class UpstreamSessions:
    """Upstream's sessions of one batch, as a contender."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def run(self, steps: int) -> list[float]:
        """Milliseconds of each of that many steps, after one that does not count."""
        taken: list[float] = self._upstream.ask("run", steps=steps)["ms"]
        return taken

    def close(self) -> None:
        """Ends the sessions."""
        self._upstream.ask("close")
