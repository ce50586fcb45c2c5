"""CPU time and memory of processes of this machine, read from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME = 11, 12  # after the parenthesised name: proc(5), fields 14 and 15


def cpu_s(process_id: int) -> float:
    """User and system time of all its threads so far. Raises OSError when there is no such process."""
    after_name = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[_UTIME]) + int(after_name[_STIME])) / _TICKS_PER_S


def machine_cpu_s() -> float:
    """Time that all cores of this machine were busy so far, time taken by a hypervisor included."""
    user, nice, system, _idle, _iowait, irq, soft_irq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft_irq + steal) / _TICKS_PER_S


def resident_bytes(process_id: int) -> int:
    """Its resident memory. Raises OSError when there is no such process."""
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * _PAGE_BYTES


@dataclass
class ProcessWatch:
    """Samples of some processes over a run."""

    process_ids: Mapping[str, int]  # by name
    sampled_s: list[float] = field(default_factory=list)
    resident_bytes: dict[str, list[int]] = field(default_factory=dict)
    _cpu_s: dict[str, list[float]] = field(default_factory=dict)

    def sample(self) -> None:
        """Notes the state of every process now; one that has ended keeps its last figures."""
        self.sampled_s.append(time.monotonic())
        for name, process_id in self.process_ids.items():
            cpu, resident = self._cpu_s.setdefault(name, []), self.resident_bytes.setdefault(name, [])
            try:
                cpu.append(cpu_s(process_id))
                resident.append(resident_bytes(process_id))
            except OSError:
                cpu.append(cpu[-1] if cpu else 0.0)
                resident.append(resident[-1] if resident else 0)

    def used_cpu_s(self) -> dict[str, float]:
        """CPU time between the first and the last sample."""
        return {name: samples[-1] - samples[0] for name, samples in self._cpu_s.items()}
