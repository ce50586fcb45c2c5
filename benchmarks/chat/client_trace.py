"""Client trace: what one client of a mix lived through, and whether that is what it should have been."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_STARVED = 0.5  # of what was said; a little less than all is what a busy machine drops, and tells


@dataclass
class ClientTrace:
    """From the connection to its end. Times in seconds since the run began."""

    name: str
    said_frames: int = 0
    heard_frames: float = 0  # a packet is half of one
    queue_positions: list[tuple[int, int]] = field(default_factory=list)  # position, how many wait; as told
    asked_s: float = 0.0
    queued_s: float | None = None  # when it was first told its position: the gateway knows who came first
    ready_s: float | None = None
    text: str = ""
    failure: str = ""  # how it ended, if not well
    counters: dict[str, int] = field(default_factory=dict)  # the last that the gateway told
    final: bool = False  # whether those are the account of the whole conversation
    turnarounds_ms: list[float] = field(default_factory=list)  # medians, as the gateway told them

    @property
    def waited_s(self) -> float | None:
        """From the connection to the conversation."""
        return None if self.ready_s is None else self.ready_s - self.asked_s

    @property
    def first_position(self) -> int:
        """Position at which it entered the queue; 0: none."""
        return self.queue_positions[0][0] if self.queue_positions else 0


def faults(traces: Sequence[ClientTrace]) -> list[str]:
    """Sentences; none when everybody got what is due. Latency is no matter of these."""
    return [fault for trace in traces for fault in _client_faults(trace)] + list(_queue_faults(traces))


def _client_faults(trace: ClientTrace) -> Iterator[str]:
    if trace.failure:
        yield f"{trace.name}: {trace.failure}"
        return
    if trace.ready_s is None:
        yield f"{trace.name}: its turn never came"
        return
    if trace.heard_frames < _STARVED * trace.said_frames:
        yield f"{trace.name}: said {trace.said_frames} frames, heard {trace.heard_frames:g}"
    if trace.final:
        yield from _counter_faults(trace)


def _counter_faults(trace: ClientTrace) -> Iterator[str]:
    counted = trace.counters.get
    stepped = counted("frames_in", 0) + counted("frames_filled", 0) - counted("frames_dropped", 0)
    answered = counted("frames_out", 0) + counted("reply_frames_dropped", 0)
    if stepped != answered:
        yield f"{trace.name}: {stepped} frames stepped, {answered} answered"
    if trace.heard_frames != counted("frames_out", 0):
        yield f"{trace.name}: {counted('frames_out', 0)} frames sent, {trace.heard_frames:g} heard"


def _queue_faults(traces: Sequence[ClientTrace]) -> Iterator[str]:
    waiting = [trace for trace in traces if trace.queue_positions]
    for trace in waiting:
        positions = [position for position, _ in trace.queue_positions]
        if any(after > before for before, after in zip(positions, positions[1:], strict=False)):
            yield f"{trace.name}: went back in the queue: {positions}"
        if any(position > count for position, count in trace.queue_positions):
            yield f"{trace.name}: behind the end of the queue: {trace.queue_positions}"
        if trace.ready_s is not None and positions[-1] != 0:
            yield f"{trace.name}: was never told that its turn had come: {positions}"
    served = sorted((trace for trace in waiting if trace.ready_s is not None), key=lambda trace: trace.ready_s or 0)
    came = sorted(served, key=lambda trace: trace.queued_s or 0)
    if [trace.name for trace in served] != [trace.name for trace in came]:
        yield f"served as {[trace.name for trace in served]}, came as {[trace.name for trace in came]}"
