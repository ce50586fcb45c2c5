"""Free memory of a device."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP_V2 = Path("/sys/fs/cgroup")
_CGROUP_V1 = Path("/sys/fs/cgroup/memory")


def free_bytes(device: torch.device | str) -> int | None:
    """Bytes that can be allocated on the device now; None where nobody can tell.

    On a CPU the least of what the machine and this container (cgroup) have left; memory that holds cached files counts
    as free.
    """
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    known = [left for left in (_machine_bytes(), _container_bytes()) if left is not None]
    return min(known, default=None)


def _machine_bytes(meminfo: Path = _MEMINFO) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    available = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((int(kilobytes) * 1024 for kilobytes in available), None)


def _container_bytes(v2: Path = _CGROUP_V2, v1: Path = _CGROUP_V1) -> int | None:
    """What the container's limit leaves; None without a limit."""
    files = (
        (v2 / "memory.max", v2 / "memory.current", v2 / "memory.stat", "inactive_file "),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", v1 / "memory.stat", "total_inactive_file "),
    )
    for limit, usage, stat, cached in files:
        try:
            limit_bytes, used_bytes = int(limit.read_text()), int(usage.read_text())
            cached_bytes = next((int(line.split()[1]) for line in _lines(stat) if line.startswith(cached)), 0)
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return max(0, limit_bytes - used_bytes + cached_bytes)
    return None


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
