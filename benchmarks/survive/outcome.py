"""Outcome of a step: what callers got from it until the next one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.online.quantiles import quantile, ratio
from benchmarks.survive.conversation import Conversation
from benchmarks.survive.heard import (
    DROPPED,
    FILLED,
    MOVED,
    Difference,
    HeardCall,
    difference,
    difference_behind_the_context,
)
from benchmarks.survive.steps import Step, Window
from moshi_cluster.audio.frame import FRAME_S


@dataclass(frozen=True)
class Group:
    """What some of the callers got within a window."""

    gaps_s: tuple[float, ...] = ()  # the longest silence of each caller
    filled: int = 0
    dropped: int = 0
    late: int = 0  # replies later than 80 ms, of those whose place is known
    replies: int = 0

    def __add__(self, other: Group) -> Group:
        return Group(
            self.gaps_s + other.gaps_s,
            self.filled + other.filled,
            self.dropped + other.dropped,
            self.late + other.late,
            self.replies + other.replies,
        )

    @property
    def gap_p50_s(self) -> float:
        """nan of nobody."""
        return quantile(self.gaps_s, 0.5)

    @property
    def gap_max_s(self) -> float:
        """nan of nobody."""
        return max(self.gaps_s, default=math.nan)

    @property
    def late_ratio(self) -> float:
        """Of the replies whose place is known; nan of none."""
        return ratio(self.late, self.replies)


@dataclass(frozen=True)
class Outcome:
    """What happened within a window, or within several of the same kind."""

    name: str
    step: Step | None
    calm: Group  # everybody, before the first step of the run
    on_it: int = 0  # sessions or calls of the process, when it was hurt
    whole_after_s: float = 0.0  # until everything served again; the longest
    lost: int = 0  # conversations that ended before their callers meant them to
    refused: int = 0
    moves: int = 0  # told to callers
    resumed: int = 0  # conversations that went on in another call
    forgotten: int = 0  # frames that these had heard and their model knows nothing of
    moved: Group = Group()  # those whose call was moved, lost or resumed
    bystanders: Group = Group()  # the others
    greedy: Difference = Difference()
    sampled: Difference = Difference()
    behind: Difference = Difference()  # of both, behind a move of an lm that did not read the whole call
    inexact: int = 0  # calls that ended with frames unaccounted for
    others_cores: float = 0.0  # that programs used which are not part of the run; the most

    def with_another(self, other: Outcome) -> Outcome:
        """Both together, as one of this name."""
        return Outcome(
            self.name,
            self.step,
            self.calm,
            self.on_it + other.on_it,
            max(self.whole_after_s, other.whole_after_s),
            self.lost + other.lost,
            self.refused + other.refused,
            self.moves + other.moves,
            self.resumed + other.resumed,
            self.forgotten + other.forgotten,
            self.moved + other.moved,
            self.bystanders + other.bystanders,
            self.greedy + other.greedy,
            self.sampled + other.sampled,
            self.behind + other.behind,
            self.inexact + other.inexact,
            max(self.others_cores, other.others_cores),
        )


class Judge:
    """Finds the outcomes of a run, its windows in order."""

    def __init__(
        self, conversations: Sequence[Conversation], calm: Window, undisturbed: Mapping[int, HeardCall]
    ) -> None:
        """conversations: may grow, and those that ended before a window may go. undisturbed: calls to compare with, by
        the number of their voice.
        """
        self._conversations = conversations
        self._undisturbed = undisturbed
        self._calm = _group(conversations, calm)

    def outcome(self, scenario: str, window: Window) -> Outcome:
        """Of the next window."""
        ended = [one for one in self._conversations if window.holds(one.ended_s)]
        concerned = [one for one in self._conversations if _is_concerned(one, window)]
        others = [one for one in self._conversations if one not in concerned]
        again = [call for one in concerned for call in one.calls[1:] if window.holds(call.record.opened_s)]
        found = Outcome(
            f"{scenario}: {window.step.name}" if window.step else scenario,
            window.step,
            self._calm,
            window.on_it,
            window.whole_after_s,
            lost=sum(one.lost for one in ended),
            refused=sum(one.refused for one in ended),
            moves=sum(len(call.times(MOVED, window)) for one in concerned for call in one.calls),
            resumed=len(again),
            forgotten=sum(call.forgotten_frames for call in again),
            moved=_group(concerned, window),
            bystanders=_group(others, window),
            greedy=self._difference(window, difference, lambda one: one.voice.greedy),
            sampled=self._difference(window, difference, lambda one: not one.voice.greedy),
            behind=self._difference(window, difference_behind_the_context),
            inexact=sum(not call.exact for one in ended for call in one.calls),
            others_cores=window.others_cores,
        )
        if window.step is not None and window.step.service != "lm":
            _set_apart(concerned, window)
        return found

    def _difference(
        self,
        window: Window,
        compare: Callable[[HeardCall, HeardCall, Window], Difference],
        belongs: Callable[[Conversation], bool] = lambda one: True,
    ) -> Difference:
        """Of the calls that began the conversations: those that go on with one answer other audio."""
        pairs = [
            (one.first, self._undisturbed[one.voice.number])
            for one in self._conversations
            if one.calls and belongs(one) and one.voice.number in self._undisturbed
        ]
        return sum((compare(call, like, window) for call, like in pairs), Difference())


def _is_concerned(one: Conversation, window: Window) -> bool:
    """Whether its call was on what was hurt: it was moved, lost or went on elsewhere."""
    moved = any(call.times(MOVED, window) for call in one.calls)
    resumed = any(window.holds(call.record.opened_s) for call in one.calls[1:])
    return moved or resumed or (one.lost and window.holds(one.ended_s))


def _group(conversations: Sequence[Conversation], window: Window) -> Group:
    up = [one for one in conversations if one.calls and one.opened_s < window.end_s and one.ended_s >= window.begin_s]
    calls = [call for one in up for call in one.calls]
    turnaround_s = [each for call in calls for each in _turnarounds_s(call, window)]
    return Group(
        tuple(_longest_silence_s(one, window) for one in up),
        _told_frames(calls, FILLED, window),
        _told_frames(calls, DROPPED, window),
        sum(each > FRAME_S for each in turnaround_s),
        len(turnaround_s),
    )


def _longest_silence_s(one: Conversation, window: Window) -> float:
    return max((each.length_s for each in one.playback.silences if window.holds(each.end_s)), default=0.0)


def _turnarounds_s(call: HeardCall, window: Window) -> Iterable[float]:
    matcher = call.record.matcher
    pairs = zip(matcher.arrived_s, matcher.turnaround_s, strict=True)
    return [turnaround_s for arrived_s, turnaround_s in pairs if window.holds(arrived_s)]


def _told_frames(calls: Iterable[HeardCall], kind: int, window: Window) -> int:
    return sum(told.frames for call in calls for told in call.times(kind, window))


def _set_apart(concerned: Iterable[Conversation], window: Window) -> None:
    """What a codec's state decides is compared once: then the two calls are two conversations."""
    for one in concerned:
        for call in one.calls:
            call.comparable_until_s = min(call.comparable_until_s, window.begin_s)
