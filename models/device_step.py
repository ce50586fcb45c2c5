"""A step over rows on a device: one copy in, one recorded graph, one copy out, one event to wait for.

On a CPU the same function runs as it is, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]  # rows [R, columns] on the device -> results [R, ...] there
_SMALLEST, _STEP = 16, 64
_URGENT = -1  # CUDA's numbers: less is sooner


def buckets_up_to(rows: int) -> tuple[int, ...]:
    """Numbers of rows, so that the last one holds that many."""
    return _SMALLEST, *range(_STEP, -(-rows // _STEP) * _STEP + 1, _STEP)


class DeviceStep:
    """Runs a function of rows in the smallest bucket that holds them, filled up with rows that are nobody's."""

    def __init__(
        self,
        run: Run,
        nobody: Sequence[int],
        results: int,
        buckets: Sequence[int],
        device: torch.device | str,
        urgent: bool = False,
    ) -> None:
        """nobody: the int32 columns of a row that changes nothing; results: int32 columns of a result; buckets: numbers
        of rows, at least one; urgent: its kernels go before those of other steps on the device."""
        self.buckets = sorted(buckets)
        self.most_rows = self.buckets[-1]
        self._device = torch.device(device)
        self._recorded = _records(self._device)
        self._nobody = torch.tensor(nobody, dtype=torch.int32)
        self._rows_on_host = self._nobody.repeat(self.most_rows, 1)
        self._results_on_host = torch.zeros(self.most_rows, results, dtype=torch.int32)
        if self._recorded:
            self._rows_on_host = self._rows_on_host.pin_memory()
            self._results_on_host = self._results_on_host.pin_memory()
            self._done = torch.cuda.Event(blocking=True)  # a thread that waits sleeps, it does not spin
        self._rows = self._rows_on_host.to(self._device, copy=True)
        self._results = torch.zeros_like(self._results_on_host, device=self._device)
        self._run = run
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._priority = _URGENT if urgent else 0
        self._launched = 0  # rows in flight

    @property
    def in_flight(self) -> bool:
        """Whether a step was launched and not finished."""
        return self._launched > 0

    @torch.inference_mode()
    def warm(self) -> None:
        """Runs every bucket once with rows that are nobody's, and records it where the device can.

        The largest first: the others' temporaries fit the pool that it leaves.
        """
        self._rows_on_host.copy_(self._nobody)
        self._rows.copy_(self._rows_on_host)
        pool = None
        # A recorded kernel keeps the priority of the stream that recorded it.
        stream = torch.cuda.Stream(self._device, self._priority) if self._recorded else None
        for bucket in reversed(self.buckets):
            self._run_eagerly(bucket)
            if self._recorded:
                torch.cuda.synchronize(self._device)
                graph = self._graphs[bucket] = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, stream=stream):
                    self._run_eagerly(bucket)
                pool = graph.pool()

    @torch.inference_mode()
    def launch(self, rows: Tensor) -> None:
        """Starts a step. rows: int32 [N, columns] on the host, 1 to `most_rows` of them.

        Raises ValueError for another number, RuntimeError while another step is in flight.
        """
        bucket = self._bucket(len(rows))
        if self._launched:
            raise RuntimeError("a step is in flight")
        self._rows_on_host[: len(rows)] = rows
        self._rows_on_host[len(rows) : bucket] = self._nobody
        self._rows[:bucket].copy_(self._rows_on_host[:bucket], non_blocking=True)
        if bucket in self._graphs:
            self._graphs[bucket].replay()
        else:
            self._run_eagerly(bucket)
        self._results_on_host[:bucket].copy_(self._results[:bucket], non_blocking=True)
        if self._recorded:
            self._done.record()
        self._launched = len(rows)

    def finish(self) -> Tensor:
        """Waits for the step in flight: its results int32 [N, columns], a copy. Raises RuntimeError without one."""
        if not self._launched:
            raise RuntimeError("no step is in flight")
        if self._recorded:
            self._done.synchronize()
        rows, self._launched = self._launched, 0
        return self._results_on_host[:rows].clone()

    def _run_eagerly(self, bucket: int) -> None:
        self._results[:bucket].copy_(self._run(self._rows[:bucket]))

    def _bucket(self, rows: int) -> int:
        if not 1 <= rows <= self.most_rows:
            raise ValueError(f"{rows} rows: expected 1 to {self.most_rows}")
        return next(bucket for bucket in self.buckets if bucket >= rows)


def _records(device: torch.device) -> bool:
    """Whether a device can record what it is told and repeat it; tests have a CPU do it."""
    return device.type == "cuda"
