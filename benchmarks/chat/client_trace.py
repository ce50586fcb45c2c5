"""Client trace: what one client of a mix lived through, and whether that is what it should have been."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_STARVED = 0.5  # of what was said; a little less than all is what a busy machine drops, and tells


@dataclass
class Story:
    """From the connection to its end. Times in seconds since the crowd began."""

    name: str
    said_frames: int = 0
    heard_frames: float = 0  # a packet is half of one
    places: list[tuple[int, int]] = field(default_factory=list)  # position, how many wait; as told
    asked_s: float = 0.0
    queued_s: float | None = None  # when it was first told its place: the gateway knows who came first
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
    def first_place(self) -> int:
        """Where it came to stand in line; 0: nowhere."""
        return self.places[0][0] if self.places else 0


def faults(stories: Sequence[Story]) -> list[str]:
    """Sentences; none when everybody got what is due. Latency is no matter of these."""
    return [fault for story in stories for fault in _faults_of_one(story)] + list(_faults_of_the_line(stories))


def _faults_of_one(story: Story) -> Iterator[str]:
    if story.failure:
        yield f"{story.name}: {story.failure}"
        return
    if story.ready_s is None:
        yield f"{story.name}: its turn never came"
        return
    if story.heard_frames < _STARVED * story.said_frames:
        yield f"{story.name}: said {story.said_frames} frames, heard {story.heard_frames:g}"
    if story.final:
        yield from _faults_of_the_account(story)


def _faults_of_the_account(story: Story) -> Iterator[str]:
    counted = story.counters.get
    stepped = counted("frames_in", 0) + counted("frames_filled", 0) - counted("frames_dropped", 0)
    answered = counted("frames_out", 0) + counted("reply_frames_dropped", 0)
    if stepped != answered:
        yield f"{story.name}: {stepped} frames stepped, {answered} answered"
    if story.heard_frames != counted("frames_out", 0):
        yield f"{story.name}: {counted('frames_out', 0)} frames sent, {story.heard_frames:g} heard"


def _faults_of_the_line(stories: Sequence[Story]) -> Iterator[str]:
    waiting = [story for story in stories if story.places]
    for story in waiting:
        positions = [position for position, _ in story.places]
        if any(after > before for before, after in zip(positions, positions[1:], strict=False)):
            yield f"{story.name}: went back in line: {positions}"
        if any(position > count for position, count in story.places):
            yield f"{story.name}: behind the end of the line: {story.places}"
        if story.ready_s is not None and positions[-1] != 0:
            yield f"{story.name}: was never told that its turn had come: {positions}"
    served = sorted((story for story in waiting if story.ready_s is not None), key=lambda story: story.ready_s or 0)
    came = sorted(served, key=lambda story: story.queued_s or 0)
    if [story.name for story in served] != [story.name for story in came]:
        yield f"served as {[story.name for story in served]}, came as {[story.name for story in came]}"
