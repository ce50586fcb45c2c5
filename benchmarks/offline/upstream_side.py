"""The original implementation, run by an interpreter that has its package (PyPI `moshi`); see upstream.py.

Stands alone: imports nothing of this repository. Reads one JSON command a line from standard input and answers each
with one JSON line; ends with its input. Commands: hello; load (kind, weights, config, threads); open (batch);
run (steps); close.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import torch

_upstream = importlib.import_module("moshi.models")  # its types are not known where this file is checked

_OPENING_STEPS = 3
_LOUDNESS = 0.07
# Keys of config.json that its LMModel does not take.
_NOT_OF_THE_MODEL = {"moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name"}
_NOT_OF_THE_MODEL |= {"model_type", "model_id", "lm_gen_config"}


class LmSide:
    """LMModel under LMGen."""

    def __init__(self, weights: str, config: dict[str, Any]) -> None:
        sizes = {key: value for key, value in config.items() if key not in _NOT_OF_THE_MODEL}
        self._lm = _upstream.loaders.get_moshi_lm(weights, sizes, device="cpu", dtype=torch.bfloat16)
        self._config = config

    def open(self, batch: int, stack: ExitStack) -> None:
        """Starts `batch` sessions that last as long as the stack."""
        sampling = self._config["lm_gen_config"]
        self._generator = _upstream.LMGen(
            self._lm,
            temp=sampling["temp"],
            temp_text=sampling["temp_text"],
            top_k=sampling["top_k"],
            top_k_text=sampling["top_k_text"],
        )
        stack.enter_context(self._generator.streaming(batch))
        user_codebooks = self._config["n_q"] - self._config["dep_q"]
        self._codes = torch.randint(self._config["card"], (batch, user_codebooks, 1))

    def step(self) -> None:
        """One frame of every session."""
        self._generator.step(self._codes)


class MimiSide:
    """MimiModel, one frame there and back."""

    def __init__(self, weights: str, config: dict[str, Any]) -> None:
        self._mimi = _upstream.loaders.get_mimi(weights, config, device="cpu", num_codebooks=8)

    def open(self, batch: int, stack: ExitStack) -> None:
        """Starts `batch` sessions that last as long as the stack."""
        stack.enter_context(self._mimi.streaming(batch))
        self._pcm = _LOUDNESS * torch.randn(batch, 1, self._mimi.frame_size)

    def step(self) -> None:
        """One frame of every session."""
        self._mimi.decode(self._mimi.encode(self._pcm))


class Commands:
    """Carries out one command after the other."""

    def __init__(self) -> None:
        self._side: LmSide | MimiSide
        self._sessions = ExitStack()

    def hello(self) -> dict[str, Any]:
        """Versions."""
        return {"moshi": version("moshi"), "torch": torch.__version__}

    def load(self, kind: str, weights: str, config: dict[str, Any], threads: int) -> dict[str, Any]:
        """A model from a safetensors file and its configuration."""
        torch.set_num_threads(threads)
        self._side = LmSide(weights, config) if kind == "lm" else MimiSide(weights, config)
        return {"threads": torch.get_num_threads()}

    def open(self, batch: int) -> dict[str, Any]:
        """Sessions of the loaded model."""
        self._side.open(batch, self._sessions)
        return self.run(_OPENING_STEPS)

    def run(self, steps: int) -> dict[str, Any]:
        """Milliseconds of each of that many steps, after one that does not count."""
        taken = []
        for _ in range(steps + 1):
            start_s = time.perf_counter()
            self._side.step()
            taken.append(1000 * (time.perf_counter() - start_s))
        return {"ms": taken[1:]}

    def close(self) -> dict[str, Any]:
        """Ends the sessions."""
        self._sessions.close()
        return {}


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    commands = Commands()
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("command")
        try:
            with torch.no_grad():
                answer = getattr(commands, name)(**command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
