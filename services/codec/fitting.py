"""Memory fit of a codec worker: how many sessions it holds."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from moshi_cluster.models.device_step import buckets_up_to
from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.models.mimi.sizes import CodecSize
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common.worker.room import NoRoomError

_LOG = logging.getLogger(__name__)
_MB = 1_000_000


@dataclass(frozen=True)
class _Fit:
    """How many sessions free memory holds, with the arithmetic."""

    free_bytes: int
    size: CodecSize
    rows: int  # of the largest step

    @property
    def slots(self) -> int:
        return max(0, self.free_bytes - self.size.step_bytes(self.rows)) // self.size.session_bytes

    def __str__(self) -> str:
        steps = f"{self.size.step_bytes(self.rows) / _MB:.0f} MB for steps of {self.rows} rows and the device's runtime"
        return f"{self.slots} slots fit: ({self.free_bytes / _MB:.0f} MB free - {steps}) / {self.size} each"


def choose_slots(settings: CodecSettings, config: MimiConfig) -> int:
    """As many as set, else the default, or as many as fit; logged with the arithmetic.

    Call when the weights are loaded. Raises NoRoomError on a device, where memory for what is not held yet has to be
    there; on a CPU sessions that do not fit are warned of.
    """
    slots = settings.held_slots
    free = free_bytes(settings.device)
    if free is None:
        _LOG.info("slots: %d, for free memory is unknown on %s", slots, settings.device)
        return slots
    fit = _Fit(free, CodecSize(config), buckets_up_to(settings.largest_batch)[-1])
    fits = min(slots, fit.slots)
    if fits == slots:
        _LOG.info("slots: %d; %s", slots, fit)
    elif torch.device(settings.device).type == "cpu":
        _LOG.warning("slots: %d, but %s", slots, fit)
    elif settings.slots is not None:
        raise NoRoomError(f"slots: {slots} as set, but {fit}")
    elif not fits:
        raise NoRoomError(f"{fit}")
    else:
        _LOG.warning("slots: %d instead of %d; %s", fits, slots, fit)
        return fits
    return slots
