"""What an engine runs: a model behind a narrow interface, its slots and sessions, and the account of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from moshi_cluster.services.common.worker.session import Session, Waiting
from moshi_cluster.services.common.worker.slots import SlotTable

Batch = list[tuple[Session, Waiting]]

_PLAIN_BATCH = 64

CPU_GATHER_MS = 1.0
"""Enough for a group of frames that left one hop together to arrive at the next."""


def gather_s(setting_ms: float | None, device: str, cpu_default_ms: float) -> float:
    """A program's gather time: as set, else the default on a CPU and none on an accelerator."""
    if setting_ms is not None:
        return setting_ms / 1000
    return cpu_default_ms / 1000 if device == "cpu" else 0.0


def uses_static_step(choice: str, device: str) -> bool:
    """choice: the setting `static_step`; auto is on CUDA. device: as torch names it."""
    return choice == "on" or (choice == "auto" and device.partition(":")[0] == "cuda")


def largest_batch(asked: int | None, slots: int, static: bool) -> int:
    """Sessions of one step, at most: as asked, else 64, or every slot with a static step, whose rows cost no more."""
    return min(slots, asked or (slots if static else _PLAIN_BATCH))


class Runner(Protocol):
    """The model behind a program. Only the engine thread calls it."""

    def warm(self, max_batch: int) -> None:
        """Runs every batch size up to `max_batch` once, so that no session pays for a first time."""

    def history_frames(self, spec: Any) -> int:
        """How much `prepare` will have to read; the session with the least goes first."""

    def open(self, slot: int, spec: Any) -> None:
        """Notes what the slot's session is; must be quick."""

    def prepare(self, slot: int) -> bool:
        """Does one bounded piece of a session's opening work. True once the session can step."""

    def step(self, slots: Sequence[int], frames: Sequence[Any]) -> Sequence[Any]:
        """One frame for each listed slot; the results in the same order."""

    def close(self, slot: int) -> None:
        """Makes the slot as good as new."""


@runtime_checkable
class OverlappedRunner(Runner, Protocol):
    """A model on a device that works while the host goes on: its step has two halves."""

    def launch(self, slots: Sequence[int], frames: Sequence[Any]) -> None:
        """Starts a step. Until it is finished only `open`, and `prepare` that launches nothing, may be called."""

    def finish(self) -> Sequence[Any]:
        """Waits for the step; its results."""


@dataclass(frozen=True)
class InFlight:
    """A step that was launched and not finished."""

    batch: Batch
    start_s: float


@dataclass(frozen=True)
class StepStats:
    """One step as the metrics see it."""

    program: str
    step_s: float
    queue_s: Sequence[float]
    deadline_misses: int


@dataclass(frozen=True)
class PrepareStats:
    """One piece of opening work as the metrics see it."""

    program: str
    prepare_s: float


@dataclass
class Program:
    """One kind of step over one table of slots."""

    name: str
    runner: Runner
    slots: int
    max_batch: int
    gather_s: float = 0.0
    """How long a frame may wait for other sessions' frames to share its step; 0 for not at all.

    Where a step of one session costs nearly what a step of eight does and several processes share few cores, a short
    wait costs a caller less than the contention of many small steps. Sessions send a frame every 80 ms, so it is known
    who may still come in time: nobody waits for longer than that.
    """
    late_s: float = 0.003
    """An expected frame may come so late and is still waited for."""
    table: SlotTable = field(init=False)
    sessions: list[Session] = field(init=False, default_factory=list)
    overlapped: OverlappedRunner | None = field(init=False)
    """`runner`, where its step has two halves."""
    in_flight: InFlight | None = field(init=False, default=None)  # of `overlapped`

    def __post_init__(self) -> None:
        self.table = SlotTable(self.name, self.slots)
        self.overlapped = self.runner if isinstance(self.runner, OverlappedRunner) else None

    def step_due_s(self) -> float:
        """When the next step may begin, infinite while no frame waits. Call under the engine's lock."""
        oldest_s = self.oldest_arrival_s()
        if not self.gather_s or sum(session.steppable for session in self.sessions) >= self.max_batch:
            return oldest_s
        latest_s = oldest_s + self.gather_s
        others = [s for s in self.sessions if s.prepared and not s.ended and not s.waiting]
        coming_s = [min(s.next_arrival_s + self.late_s, latest_s) for s in others if s.next_arrival_s <= latest_s]
        return max([oldest_s, *coming_s])

    def oldest_arrival_s(self) -> float:
        """Arrival of the frame that has waited longest, infinite when none waits. Call under the engine's lock."""
        return min((s.waiting[0].arrival_s for s in self.sessions if s.steppable), default=float("inf"))
