"""Memory fit of an lm worker: how many sessions it holds, and the types it runs in."""

from __future__ import annotations

import logging

import torch

from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.models.moshi_lm.sizes import Fit, slot_size
from moshi_cluster.services.lm.settings import MOST_SLOTS, MOST_SLOTS_ON_CPU, LmSettings

_LOG = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_WAYS_OUT = "a shorter context, kv_dtype=int8 or quantize make room"


class NoRoomError(Exception):
    """Not one session fits the free memory; the message has the arithmetic."""


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


def choose_slots(settings: LmSettings, config: LmConfig, dtype: torch.dtype) -> int:
    """As many as set, else as many as fit; logged with the arithmetic. dtype: of keys and values.

    Call when the weights are loaded. Raises NoRoomError.
    """
    size = slot_size(config, settings.context, dtype)
    free = free_bytes(settings.device)
    if settings.slots is not None:
        _LOG.info("slots: %d as set, %.0f MB of %s", settings.slots, settings.slots * size.nbytes / 1e6, _free(free))
        if free is not None and settings.slots * size.nbytes > free * settings.memory_share:
            _LOG.warning(
                "slots: %d x %s are more than memory_share=%g of what is free: a step's own memory may not fit; %s",
                settings.slots, size, settings.memory_share, _WAYS_OUT,
            )  # fmt: skip
        return settings.slots
    most = MOST_SLOTS_ON_CPU if torch.device(settings.device).type == "cpu" else MOST_SLOTS
    if free is None:
        _LOG.info("slots: %d, for free memory is unknown on %s", most, settings.device)
        return most
    fit = Fit(free, settings.memory_share, size)
    if fit.slots < 1:
        raise NoRoomError(f"{fit}; {_WAYS_OUT}")
    slots = min(fit.slots, most)
    _LOG.info("slots: %d; %s; at most %d on %s", slots, fit, most, settings.device)
    return slots


def _free(free: int | None) -> str:
    return "free memory, which is unknown" if free is None else f"{free / 1e6:.0f} MB free"
