"""What callers heard, judged: gaps, lost calls, differing tokens, frames unaccounted for."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from benchmarks.online.matching import FrameMatcher
from benchmarks.online.playback import Silence, SimulatedPlayback
from benchmarks.online.record import OK, CallRecord
from benchmarks.online.scenarios import PlannedCall
from benchmarks.survive.conversation import LINE, Conversation, Voice
from benchmarks.survive.gateways import Gateways
from benchmarks.survive.heard import DROPPED, FILLED, MOVED, Difference, HeardCall, Told, context_frames, difference
from benchmarks.survive.outcome import Group, Judge, Outcome
from benchmarks.survive.scenarios import SCENARIOS, random_steps
from benchmarks.survive.steps import Step, Window
from benchmarks.survive.supervisor import gauge
from benchmarks.survive.verdict import broken, caution, table
from moshi_cluster.v1 import gateway_pb2

KILL_LM, KILL_CODEC = Step("kill", "lm-0"), Step("kill", "codec-0")
CALM, HURT, LATER = Window(0.0, 10.0), Window(10.0, 20.0, KILL_LM, on_it=1), Window(20.0, 30.0, KILL_LM)


def heard(sounds: dict[int, int], texts: dict[int, str] | None = None) -> HeardCall:
    """A call whose reply frame n came at n seconds, begun at 0 and not ended."""
    matcher = FrameMatcher(LINE.rate_hz, LINE.packet_samples)
    record = CallRecord(PlannedCall(0, 0.0, 1), LINE, matcher, SimulatedPlayback(), opened_s=0.0, started_s=0.0)
    return HeardCall(record, sounds, {frame: float(frame) for frame in sounds}, texts or {})


def conversation(call: HeardCall, number: int = 0, silences: tuple[Silence, ...] = ()) -> Conversation:
    made = Conversation(Voice(number, []), Gateways({"gateway-0": ""}), 1.0, 2000, resumes=False)
    made.calls.append(call)
    made.playback.silences.extend(silences)
    return made


def ended(call: HeardCall, at_s: float, outcome: str = OK) -> HeardCall:
    call.record.ended_s, call.record.outcome = at_s, outcome
    return call


def test_frames_are_compared_within_the_window_and_before_the_first_that_was_filled_in_or_dropped() -> None:
    undisturbed = heard(dict.fromkeys(range(40), 7), {12: " yes"})
    call = heard(dict.fromkeys(range(40), 7) | {15: 8, 18: 8}, {12: " no", 13: " well"})
    assert difference(call, undisturbed, HURT) == Difference(frames=10, texts=2, sounds=2)
    call.undisturbed_frames = 13
    assert difference(call, undisturbed, HURT) == Difference(frames=3, texts=1, sounds=0)
    assert difference(call, undisturbed, LATER) == Difference()


def test_the_last_frame_of_either_call_is_not_compared() -> None:
    short = heard(dict.fromkeys(range(15), 7))
    assert difference(heard(dict.fromkeys(range(40), 7)), short, HURT).frames == 4


def test_sound_is_compared_whatever_packets_it_came_in() -> None:
    pieces = ([bytes(range(160)), bytes(480)], [bytes(range(160)) + bytes(480)])
    calls = [heard({}), heard({})]
    for call, packets in zip(calls, pieces, strict=True):
        position = 0
        for data in packets:
            call.listen(gateway_pb2.ConverseResponse(audio=gateway_pb2.ReplyAudio(data=data, first_sample=position)))
            position += len(data)
    assert calls[0].sound == calls[1].sound != {}


@pytest.mark.parametrize(("kind", "first"), [(FILLED, 5), (DROPPED, 5), (MOVED, math.inf)])
def test_the_first_fill_or_drop_disturbs_a_call_from_there_on(
    kind: gateway_pb2.Event.Kind.ValueType, first: float
) -> None:
    call = heard({})
    for frame in (5, 9):
        event = gateway_pb2.Event(kind=kind, frame_index=frame, frames=1)
        call.listen(gateway_pb2.ConverseResponse(event=event))
    assert call.undisturbed_frames == first


@pytest.mark.parametrize(
    ("changes", "exact"),
    [
        ({}, True),
        ({"frames_out": 4}, False),
        ({"moves": 2}, False),
        ({"frames_filled": 1}, False),
    ],
)
def test_counters_that_do_not_add_up_or_disagree_with_the_caller_are_inexact(
    changes: dict[str, int], exact: bool
) -> None:
    call = heard({})
    call.told.append(Told(1.0, MOVED, 0, ""))
    for _ in range(20):
        call.record.matcher.sent(0.0)
    call.record.reply_frames, call.record.reply_samples = 5, 3200
    counters = {"frames_in": 5, "frames_out": 5, "samples_in": 3200, "samples_out": 3200, "moves": 1} | changes
    call.record.counters = gateway_pb2.Counters(**counters)
    assert call.exact is exact


@pytest.mark.parametrize(
    ("detail", "frame", "promised", "behind"),
    [
        ("lm: the worker was lost", 9, Difference(10, 0, 10), Difference()),
        ("lm: the worker was lost", 15, Difference(5, 0, 5), Difference(5, 0, 5)),
        ("codec: the worker was lost", 15, Difference(10, 0, 10), Difference()),
    ],
)
def test_behind_a_move_of_a_call_that_is_longer_than_the_context_nothing_is_promised(
    monkeypatch: pytest.MonkeyPatch, detail: str, frame: int, promised: Difference, behind: Difference
) -> None:
    monkeypatch.setattr("benchmarks.survive.heard.context_frames", lambda: 16)
    undisturbed, call = heard(dict.fromkeys(range(40), 7)), heard(dict.fromkeys(range(40), 8))
    event = gateway_pb2.Event(kind=MOVED, frame_index=frame, detail=detail)
    call.listen(gateway_pb2.ConverseResponse(event=event))
    found = Judge([conversation(call)], CALM, {0: undisturbed}).outcome("", HURT)
    assert (found.greedy, found.behind) == (promised, behind)
    assert len(list(broken(dataclasses.replace(outcome(), greedy=found.greedy, behind=found.behind)))) == 1


def test_the_context_is_the_demo_models() -> None:
    assert context_frames() == 375


@pytest.mark.parametrize("number", range(2))
def test_every_second_voice_is_greedy_and_the_others_are_drawn(number: int) -> None:
    sampling = Voice(number, []).start(0).sampling
    assert [sampling.text_temperature > 0, sampling.audio_temperature > 0] == [number == 1] * 2


def test_who_is_moved_and_who_stands_by() -> None:
    moved, aside = heard({}), heard({})
    moved.told += [Told(12.0, MOVED, 0, ""), Told(12.0, DROPPED, 3, "")]
    conversations = [
        conversation(moved, 0, (Silence(12.0, 0.4), Silence(25.0, 0.2))),
        conversation(aside, 1, (Silence(11.0, 0.1), Silence(5.0, 3.0))),
    ]
    outcome = Judge(conversations, CALM, {}).outcome("kill-lm", HURT)
    assert outcome.moved == Group((0.4,), dropped=3)
    assert outcome.bystanders == Group((0.1,))
    assert outcome.calm.gap_max_s == 3.0
    assert (outcome.moves, outcome.lost, outcome.refused, outcome.inexact) == (1, 0, 0, 0)


def test_a_lost_call_belongs_to_the_window_in_which_it_ended() -> None:
    lost = conversation(ended(heard({}), 12.0, "UNAVAILABLE"))
    lost.is_over = True
    judge = Judge([lost], CALM, {})
    assert [judge.outcome("", window).lost for window in (HURT, LATER)] == [1, 0]


def test_behind_a_move_to_another_codec_calls_are_two_conversations() -> None:
    undisturbed = heard(dict.fromkeys(range(40), 7))
    call = heard(dict.fromkeys(range(40), 8))
    call.told.append(Told(12.0, MOVED, 0, ""))
    of_codec = dataclasses.replace(HURT, step=KILL_CODEC)
    for first, compared_later in ((of_codec, 0), (HURT, 10)):
        judge = Judge([conversation(call)], CALM, {0: undisturbed})
        assert judge.outcome("", first).greedy.sounds == 10
        assert judge.outcome("", LATER).greedy.frames == min(compared_later, 10)
        call.comparable_until_s = math.inf


def outcome(**changes: object) -> Outcome:
    calm = Group((0.0,), late=1, replies=100)
    held = Outcome("kill-lm", KILL_LM, calm, on_it=4, moves=4, moved=Group((0.3, 0.4)), bystanders=calm)
    return dataclasses.replace(held, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lost": 1}, "1 calls were lost"),
        ({"refused": 2}, "2 new calls were refused"),
        ({"inexact": 1}, "1 calls ended with frames unaccounted for"),
        ({"moves": 0}, "no call was told that it moved"),
        ({"resumed": 1}, "1 calls were taken up again instead of being moved"),
        ({"moved": Group((0.3, 1.01))}, "a silence of 1010 ms > 1000 ms"),
        ({"step": Step("restart", "lm-0"), "moved": Group((0.17,))}, "a silence of 170 ms > 160 ms"),
        ({"bystanders": Group((0.2,))}, "a bystander's silence of 200 ms > 160 ms"),
        ({"bystanders": Group((0.0,), late=7, replies=100)}, "7.0% of the bystanders' replies were late, before 1.0%"),
        ({"sampled": Difference(50, 1, 2)}, "sampled: the text of 1 and the sound of 2 of 50 frames differ"),
    ],
)
def test_each_broken_promise_has_a_sentence(changes: dict[str, object], sentence: str) -> None:
    assert not list(broken(outcome()))
    assert list(broken(outcome(**changes))) == [f"kill-lm: {sentence}"]


def test_tokens_may_differ_behind_a_codec_and_calls_of_a_gateway_are_resumed() -> None:
    assert not list(broken(outcome(step=KILL_CODEC, greedy=Difference(50, 9, 50))))
    assert not list(broken(outcome(step=Step("kill", "gateway-0"), moves=0, resumed=4)))


def test_outcomes_of_a_kind_add_up() -> None:
    both = outcome(lost=1, whole_after_s=3.0).with_another(
        outcome(lost=2, whole_after_s=2.0, greedy=Difference(5, 1, 1))
    )
    assert (both.lost, both.on_it, both.whole_after_s, both.greedy.frames) == (3, 8, 3.0, 5)
    assert both.moved.gaps_s == (0.3, 0.4, 0.3, 0.4)


def test_a_busy_machine_is_told() -> None:
    assert not caution([outcome(others_cores=0.1)])
    assert "0.50 cores" in caution([outcome(), outcome(others_cores=0.5)])


def test_a_step_is_a_row() -> None:
    row = table([outcome(greedy=Difference(50, 1, 5), behind=Difference(9, 2, 3))]).splitlines()[1].split()
    assert row[:10] == ["kill-lm", "4", "4", "0", "0", "0", "300", "400", "0", "0"]
    assert row[-13:-2] == ["1", "/", "0", "50", "10.00%", "2", "/", "3", "of", "9", "0"]


def test_the_same_seed_gives_the_same_faults_of_every_kind_but_a_frozen_gateway() -> None:
    steps, again, others = (list(itertools.islice(random_steps(seed), 400)) for seed in (1, 1, 2))
    assert steps == again != others
    assert len({(step.fault, step.process) for step in steps}) == 16
    assert not any((step.fault, step.service) == ("freeze", "gateway") for step in steps)


def test_every_scenario_names_processes_that_there_are() -> None:
    for scenario in SCENARIOS.values():
        assert all(
            step.process in {f"{one}-{n}" for one in ("lm", "codec", "gateway") for n in (0, 1)}
            for step in scenario.steps
        )


def test_a_gauge_is_read_by_its_label() -> None:
    text = '# TYPE workers gauge\nworkers{service="lm"} 2\nworkers{service="codec"} 1\n# TYPE calls gauge\ncalls 3\n'
    assert gauge(text, "workers", "service") == {"lm": 2.0, "codec": 1.0}
    assert gauge(text, "calls") == {"": 3.0}
