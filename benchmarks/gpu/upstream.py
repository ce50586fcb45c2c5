"""Upstream's own step in turns with ours, on the same weights. Both rings do not fit at once: theirs, ours, theirs."""

from __future__ import annotations

import importlib
import importlib.util
import json
import statistics
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.gpu.lm_step import RunningSessions, static_step
from benchmarks.gpu.scale import Scale, free_memory
from benchmarks.online.quantiles import quantile

_FILLS = (0.25, 1.0)
FIRST_STEPS = 4  # record its graphs
_GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "lm_tiny"


def run(scale: Scale) -> None:
    """Ratios by sessions and fill, 8-bit keys and values of ours against theirs, which read the whole ring always."""
    models = upstream_models(scale)
    if models is None:
        return
    scale.check("upstream repeats its golden tokens (products may differ)", _says_the_golden_tokens(scale, models))
    lm = models.loaders.get_moshi_lm(None, dict(scale.config), device="meta", dtype=torch.bfloat16)
    lm.load_state_dict(_as_theirs(scale), assign=True)
    # The most first, should the time run out: it says most.
    for sessions in reversed(scale.batches[:3]):
        try:
            _compare(scale, models, lm, sessions)
        except (torch.OutOfMemoryError, MemoryError) as error:
            free_memory()
            scale.note(f"left out {sessions} sessions: {str(error):.100}")


def _compare(scale: Scale, models: ModuleType, lm: Any, sessions: int) -> None:
    before_ms = _theirs_ms(scale, models, lm, sessions)
    ours_ms = _ours_ms(scale, sessions)
    theirs_ms = statistics.mean((before_ms, _theirs_ms(scale, models, lm, sessions)))
    scale.figure(f"{sessions} sessions: upstream", theirs_ms, "ms")
    for fill, taken_ms in ours_ms.items():
        label = f"{sessions} sessions, {fill:.0%} of the window"
        scale.figure(f"{label}: ours, int8", taken_ms, "ms")
        scale.figure(f"{label}: times faster", theirs_ms / taken_ms, "x")


def upstream_models(scale: Scale) -> ModuleType | None:
    """Upstream's package; None, and a note, where there is none."""
    if importlib.util.find_spec("moshi"):
        return importlib.import_module("moshi.models")
    scale.note("left out upstream: there is no package moshi here (carry the wheels of moshi 0.2.13 and einops in)")
    return None


def _says_the_golden_tokens(scale: Scale, models: ModuleType) -> bool:
    """Whether upstream repeats its own greedy tokens of the golden set, in float32."""
    config = json.loads((_GOLDEN / "config.json").read_text())
    sizes = {key: value for key, value in config.items() if key in scale.config}
    lm = models.loaders.get_moshi_lm(_GOLDEN / "model.safetensors", sizes, device=scale.device, dtype=torch.float32)
    expected = load_file(_GOLDEN / "outputs_f32.safetensors")
    generator = models.LMGen(lm, use_sampling=False)
    said = []
    with generator.streaming(1):
        for frame in expected["user_codes"].T:
            reply = generator.step(frame[None, :, None].to(scale.device))
            said.append([] if reply is None else reply.flatten().tolist())
    return said[2:] == expected["tokens"][2:].tolist()


def _as_theirs(scale: Scale) -> dict[str, torch.Tensor]:
    """Our tensors under their names; norms are kept in float32 there."""
    return {name: tensor.float() if name.endswith("alpha") else tensor for name, tensor in scale.tensors.items()}


def _theirs_ms(scale: Scale, models: ModuleType, lm: Any, sessions: int) -> float:
    """Median of a step of theirs; the sessions end with it."""
    generator = models.LMGen(lm, temp=0.8, temp_text=0.7, top_k=250, top_k_text=25)
    codes = torch.zeros(sessions, scale.lm_config.user_codebooks, 1, dtype=torch.int64, device=scale.device)
    taken_ms = []
    with generator.streaming(sessions):
        for _ in range(FIRST_STEPS + scale.steps):
            start_s = time.perf_counter()
            generator.step(codes)
            scale.synchronise()
            taken_ms.append(1000 * (time.perf_counter() - start_s))
    del generator
    free_memory()
    return quantile(taken_ms[FIRST_STEPS:], 0.5)


def _ours_ms(scale: Scale, sessions: int) -> dict[float, float]:
    """Median of a step of ours by fill."""
    step = static_step(scale, torch.int8, sessions)
    if step.slots < sessions:
        raise MemoryError(f"{sessions} slots do not fit, {step.slots} do")
    step.warm()
    taken_ms = {}
    for fill in _FILLS:
        running = RunningSessions(step, range(sessions), [int(fill * scale.lm_config.context)] * sessions)
        running.frame()
        taken_ms[fill] = quantile([running.frame().whole_ms for _ in range(scale.steps)], 0.5)
    del step, running
    free_memory()
    return taken_ms
