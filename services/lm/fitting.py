"""Memory fit of an lm worker: how many sessions it holds, and the types it runs in."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.models.mimi.sizes import CodecRoom, CodecSize
from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.models.moshi_lm.sizes import Fit, SlotSize, StepSize, slot_size
from moshi_cluster.models.moshi_lm.static import PREFILL_FRAMES, SPARE_PLACES, buckets_for
from moshi_cluster.services.common.worker import program
from moshi_cluster.services.common.worker.room import NoRoomError
from moshi_cluster.services.lm.settings import MOST_SLOTS, MOST_SLOTS_ON_CPU, LmSettings

_LOG = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_WAYS_OUT = "a shorter context, kv_dtype=int8 or quantize make room"
_PLAIN_PREFILL_FRAMES = 64
_SHARE, _SHARE_BESIDE_A_KNOWN_STEP = 0.8, 0.95


def activation_dtype(settings: LmSettings, quantised: bool) -> torch.dtype:
    """quantised: whether the weights are, in the file or by the settings.

    On a CPU float32 is fast with dense weights, and the kernels for quantised ones are fast in bfloat16.
    """
    if settings.dtype != "auto":
        return _DTYPES[settings.dtype]
    on_cpu = torch.device(settings.device).type == "cpu"
    return torch.float32 if on_cpu and not quantised else torch.bfloat16


def kv_dtype(settings: LmSettings, activations: torch.dtype) -> torch.dtype:
    """Of keys and values; torch.int8 for 8 bits."""
    return activations if settings.kv_dtype == "auto" else _DTYPES[settings.kv_dtype]


def uses_static_step(settings: LmSettings) -> bool:
    """As set, else on CUDA."""
    return program.uses_static_step(settings.static_step, settings.device)


def largest_batch(settings: LmSettings, slots: int) -> int:
    """Sessions of one step, at most."""
    return program.largest_batch(settings.max_batch, slots, uses_static_step(settings))


def step_buckets(settings: LmSettings, max_batch: int) -> tuple[int, ...]:
    """Numbers of rows of the static step, for batches of at most max_batch."""
    buckets = buckets_for(max_batch)
    return buckets[-1:] if settings.one_bucket else buckets


def prefill_chunk_frames(settings: LmSettings) -> int:
    """Frames of history between two steps: as set, else what takes about as long as a step of a few sessions does."""
    return settings.prefill_chunk_frames or (PREFILL_FRAMES if uses_static_step(settings) else _PLAIN_PREFILL_FRAMES)


def choose_slots(settings: LmSettings, config: LmConfig, dtype: torch.dtype) -> int:
    """As many as set, else as many as fit; logged with the arithmetic. dtype: of keys and values.

    Call when the weights are loaded. Raises NoRoomError.
    """
    on_cpu = torch.device(settings.device).type == "cpu"
    most = MOST_SLOTS_ON_CPU if on_cpu else MOST_SLOTS
    static = uses_static_step(settings)
    size = slot_size(config, settings.context, dtype, SPARE_PLACES if static else 0)
    step = _step_size(settings, config, size, settings.slots or most) if static and not on_cpu else None
    free = free_bytes(settings.device)
    codec = CodecRoom(CodecSize(MimiConfig())) if settings.leave_for_codec and step else None
    share = settings.memory_share or (_SHARE if step is None else _SHARE_BESIDE_A_KNOWN_STEP)
    if settings.slots is not None:
        _check_set(settings.slots, Fit(free or 0, share, size, step, codec), free)
        return settings.slots
    if free is None:
        _LOG.info("slots: %d, for free memory is unknown on %s", most, settings.device)
        return most
    fit = Fit(free, share, size, step, codec)
    if fit.slots < 1:
        raise NoRoomError(f"{fit}; {_WAYS_OUT}")
    slots = min(fit.slots, most)
    _LOG.info("slots: %d; %s; at most %d on %s", slots, fit, most, settings.device)
    return slots


def _step_size(settings: LmSettings, config: LmConfig, slot: SlotSize, slots: int) -> StepSize:
    return StepSize(config, buckets_for(largest_batch(settings, slots))[-1], slot.context)


def _check_set(slots: int, fit: Fit, free: int | None) -> None:
    """Slots as set. Where a step's own memory is known they fit or are an error; more than would be taken unset are
    warned of."""
    _LOG.info("slots: %d as set, %.0f MB of %s", slots, slots * fit.slot.nbytes / 1e6, _free(free))
    if free is None:
        return
    alone = replace(fit, share=1.0, codec=None)
    if fit.step is not None and slots > alone.slots:
        raise NoRoomError(f"slots: {slots} as set, but {alone}; {_WAYS_OUT}")
    if slots > fit.slots:
        _LOG.warning("slots: %d as set may leave too little for others, for %s; %s", slots, fit, _WAYS_OUT)


def _free(free: int | None) -> str:
    return "free memory, which is unknown" if free is None else f"{free / 1e6:.0f} MB free"
