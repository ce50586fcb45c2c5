"""Judge of an evaluation: from what was said in the calls to the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moshi_cluster.audio.frame import FRAME_SAMPLES, FRAMES_PER_S
from moshi_cluster.audio.pcm import Samples
from training.evaluate.answers import Answer, Pieces, answers, spoken
from training.evaluate.report import STOPPED_WITHIN_S, Count, EvaluationReport
from training.evaluate.sound import stops_after_s, trimmed
from training.world.exchanges import GREETING

Hear = Callable[[Samples], str]  # trimmed speech at 24 kHz -> its words


@dataclass(frozen=True)
class HeldCall:
    """One call after it was held."""

    turns: Sequence[Mapping[str, Any]]  # as in the world's sessions
    pieces: Pieces  # of Moshi's text
    sound: Samples  # Moshi's, 24 kHz, full scale 1.0
    delay_s: float = 0.0  # Moshi's voice reaches the caller so much later than the frame that it answers begins


def judge(calls: Iterable[HeldCall], hear: Hear) -> EvaluationReport:
    """Every answer, greeting, silence and interruption of the calls."""
    report = EvaluationReport()
    for call in calls:
        _judge_greeting(call, report)
        _judge_interruptions(call, report)
        for answer in answers(call.turns, call.pieces):
            if not answer.interrupted:  # where exactly it ends is neither right nor wrong
                _judge_answer(answer, call.sound, hear, report)
    return report


def _judge_greeting(call: HeldCall, report: EvaluationReport) -> None:
    frames = len(call.pieces)
    before = int(call.turns[0]["user_end_s"] * FRAMES_PER_S) if call.turns else frames
    said = spoken(call.pieces[:before])
    report.greeted.add(said.startswith(GREETING) if not call.turns else said == GREETING)
    if not call.turns:
        report.quiet.add(said == GREETING)


def _judge_interruptions(call: HeldCall, report: EvaluationReport) -> None:
    for turn in call.turns:
        if turn["interrupts"]:
            seconds = stops_after_s(call.sound, turn["user_start_s"])
            if seconds is not None:  # Moshi was speaking
                report.stopped.add(seconds + call.delay_s <= STOPPED_WITHIN_S)


def _judge_answer(answer: Answer, sound: Samples, hear: Hear, report: EvaluationReport) -> None:
    report.answers.setdefault(answer.kind, Count()).add(answer.right)
    if answer.unseen:
        report.unseen.add(answer.right)
    if not answer.right:
        report.mistakes.append({"asked": answer.asked, "expected": answer.expected, "said": answer.said})
        return
    window = sound[answer.first_frame * FRAME_SAMPLES : answer.last_frame * FRAME_SAMPLES]
    heard = hear(np.ascontiguousarray(trimmed(window)))
    report.understood.add(heard == answer.expected)
    if heard != answer.expected:
        report.misheard.append({"said": answer.said, "heard": heard})
