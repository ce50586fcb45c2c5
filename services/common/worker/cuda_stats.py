"""CUDA card of a worker, asked when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable

import torch

from moshi_cluster.services.common.worker.device_stats import DeviceStats, no_device


def device_look(device: str) -> Callable[[], DeviceStats | None]:
    """What tells of a device that a model is on. device: as torch names it."""
    where = torch.device(device)
    if where.type != "cuda":
        return no_device
    return lambda: _stats(where)


def _stats(device: torch.device) -> DeviceStats:
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    return DeviceStats(
        device=f"cuda:{torch.cuda.current_device() if device.index is None else device.index}",
        name=torch.cuda.get_device_name(device),
        total_bytes=total_bytes,
        used_bytes=total_bytes - free_bytes,
        own_bytes=torch.cuda.memory_reserved(device),
        utilisation=_utilisation(device),
    )


def _utilisation(device: torch.device) -> float | None:
    """None where NVIDIA's library for it is missing, or does not say (a slice of a card, some drivers)."""
    try:
        return torch.cuda.utilization(device) / 100
    except Exception:  # of a library that may not be there, so its errors cannot be named
        return None
