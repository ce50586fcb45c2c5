"""Accelerator of a worker, as it tells of itself; nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceStats:
    """Memory and work of one card at one moment."""

    device: str
    """As torch names it, cuda:0."""
    name: str
    """As its maker names it."""
    total_bytes: int
    used_bytes: int
    """By all processes together."""
    own_bytes: int
    """Held by this process's PyTorch."""
    utilisation: float | None
    """Share of the last moment in which it computed, 0 to 1; None where NVIDIA's library is not there."""


def no_device() -> DeviceStats | None:
    """Of a model on a CPU, or in another process."""
    return None
