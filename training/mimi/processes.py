"""Data-parallel training in several processes of one thread each, every process on its own crops.

On CPU this is faster than one process of several threads: a codec step is some 500 short operations, threads wait for
each other after every one of them, and processes once per step.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

_RANK, _WORLD, _MEETING = "MIMI_TRAINING_RANK", "MIMI_TRAINING_PROCESSES", "MIMI_TRAINING_MEETING"
# glibc gives large blocks back to the kernel at once and gets them back page by page: a fifth of the time.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


def is_worker() -> bool:
    """Whether this process was started by `run_workers`."""
    return _RANK in os.environ


def run_workers(arguments: Sequence[str], processes: int) -> int:
    """Runs this program again, `processes` times, and returns the first failure's exit status, else 0."""
    with tempfile.TemporaryDirectory() as folder:
        shared = {_WORLD: str(processes), _MEETING: f"file://{folder}/meeting", "OMP_NUM_THREADS": "1"} | _KEEP_MEMORY
        workers = [
            subprocess.Popen([sys.executable, "-m", *arguments], env=os.environ | shared | {_RANK: str(rank)})
            for rank in range(processes)
        ]
        try:
            return max(worker.wait() for worker in workers)
        finally:
            for worker in workers:
                worker.kill()


def join() -> int:
    """Meets the other processes; returns this one's number."""
    torch.set_num_threads(1)
    rank = int(os.environ[_RANK])
    world = int(os.environ[_WORLD])
    if world > 1:
        dist.init_process_group("gloo", init_method=os.environ[_MEETING], rank=rank, world_size=world)
    return rank


def summed(x: Tensor) -> Tensor:
    """The sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


def from_first(x: Tensor) -> Tensor:
    """The first process's x."""
    if dist.is_initialized():
        dist.broadcast(x, 0)
    return x


def mean(values: Sequence[float]) -> list[float]:
    """Means over all processes."""
    total: list[float] = summed(torch.tensor(values, dtype=torch.float64)).tolist()
    return [value / _world() for value in total]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces gradients by their means over all processes."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if _world() == 1 or not grads:
        return
    flat = summed(torch.cat([grad.flatten() for grad in grads])) / _world()
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
