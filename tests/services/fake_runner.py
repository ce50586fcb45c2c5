"""A model that takes no time and does nothing by chance: the deterministic twin of an engine's runner."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from moshi_cluster.services.common.worker.program import Program

Answer = Callable[[Any, int, Any], Any]  # (spec, frames of this session before, frame) -> value
_PATIENCE_S = 60.0  # far beyond any test: only a deadlock reaches it


def echo(spec: Any, index: int, frame: Any) -> Any:
    """The answer that tells everything the runner knew."""
    return spec, index, frame


class FakeRunner:
    """Answers with `answer`; `hold` makes every step wait for a permit, so that a test decides what meets what."""

    def __init__(
        self, answer: Answer = echo, prepare_pieces: int = 1, history_frames: Callable[[Any], int] = lambda spec: 0
    ) -> None:
        self.log: list[tuple[str, Any]] = []  # ("open", slot), ("prepare", slot), ("step", slots), ("close", slot)
        self.failure: Exception | None = None  # raised by the next step
        self.specs: dict[int, Any] = {}
        self._answer = answer
        self._prepare_pieces = prepare_pieces
        self._history_frames = history_frames
        self._pieces_left: dict[int, int] = {}
        self._frames: dict[int, int] = {}
        self._held = threading.Event()
        self._permits = threading.Semaphore(0)
        self._entered: queue.SimpleQueue[list[int]] = queue.SimpleQueue()

    # --- what the test does

    def hold(self) -> None:
        """From now on every step waits for `let_one`."""
        self._held.set()

    def let_one(self) -> None:
        """Lets one waiting step go on."""
        self._permits.release()

    def let_all(self) -> None:
        """Steps run freely again."""
        self._held.clear()
        self._permits.release()

    async def step_entered(self) -> list[int]:
        """The slots of the next step that begins to wait."""
        return await asyncio.to_thread(self._entered.get, True, _PATIENCE_S)

    @property
    def steps(self) -> list[list[int]]:
        """The batches so far."""
        return [value for name, value in self.log if name == "step"]

    # --- what the engine thread does

    def warm(self, max_batch: int) -> None:
        self.log.append(("warm", max_batch))

    def history_frames(self, spec: Any) -> int:
        return self._history_frames(spec)

    def open(self, slot: int, spec: Any) -> None:
        assert slot not in self.specs, "opened twice"
        self.log.append(("open", slot))
        self.specs[slot], self._frames[slot] = spec, 0
        self._pieces_left[slot] = self._prepare_pieces

    def prepare(self, slot: int) -> bool:
        self.log.append(("prepare", slot))
        self._pieces_left[slot] -= 1
        assert self._pieces_left[slot] >= 0, "prepared after it was ready"
        return not self._pieces_left[slot]

    def step(self, slots: Sequence[int], frames: Sequence[Any]) -> list[Any]:
        self.log.append(("step", list(slots)))
        assert len(set(slots)) == len(slots)
        assert not any(self._pieces_left[slot] for slot in slots), "stepped before it was prepared"
        if self._held.is_set():
            self._entered.put(list(slots))
            assert self._permits.acquire(timeout=_PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        return [self._answer_one(slot, frame) for slot, frame in zip(slots, frames, strict=True)]

    def close(self, slot: int) -> None:
        self.log.append(("close", slot))
        del self.specs[slot], self._frames[slot], self._pieces_left[slot]

    def _answer_one(self, slot: int, frame: Any) -> Any:
        index = self._frames[slot]
        self._frames[slot] += 1
        return self._answer(self.specs[slot], index, frame)


class FakeOverlappedRunner(FakeRunner):
    """The same in two halves; the second one is what waits, or fails."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._launched: tuple[list[int], Sequence[Any]] | None = None

    def launch(self, slots: Sequence[int], frames: Sequence[Any]) -> None:
        assert self._launched is None, "launched while a step was in flight"
        self.log.append(("launch", list(slots)))
        self._launched = list(slots), frames

    def finish(self) -> list[Any]:
        assert self._launched is not None, "nothing was launched"
        answers = self.step(*self._launched)
        self._launched = None
        return answers

    def close(self, slot: int) -> None:
        assert self._launched is None, "closed while a step was in flight"
        super().close(slot)


def fake_program(
    runner: FakeRunner, slots: int = 4, max_batch: int = 4, name: str = "fake", **timing_s: float
) -> Program:
    """A program around the fake; timing_s: gather_s and late_s."""
    return Program(name, runner, slots, max_batch, **timing_s)
