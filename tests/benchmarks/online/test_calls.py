"""The driver against a real gateway in this process; nothing here depends on how fast the machine is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from benchmarks.online.driver import RunOptions, drive, make_callers
from benchmarks.online.impairments import IMPAIRMENTS
from benchmarks.online.live import LiveView
from benchmarks.online.processes import ProcessWatch
from benchmarks.online.report import LoadReport, make_report
from benchmarks.online.scenarios import SCENARIOS, Size
from benchmarks.online.speech import LineFormat, speech_messages
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.server import GatewayService
from moshi_cluster.services.gateway.settings import GatewaySettings
from tests.clients.cli.cut_line import cut_line
from tests.services.fake_workers import FakeCodec, FakeLm
from tests.services.in_process import serving

MULAW = LineFormat("mulaw", 8000, 20, 20)
LINES = [MULAW, LineFormat("s16le", 24_000, 20, 40), LineFormat("f32le", 8000, 80, 80)]


# However late a busy machine is, nothing is filled in or dropped, and frames can be counted.
PATIENT = {"jitter_allowance_ms": 2000, "backlog_frames": 250, "reply_backlog_ms": 20_000}


@asynccontextmanager
async def gateway(slots: int, **settings: Any) -> AsyncIterator[str]:
    """host:port of a gateway whose models compute nothing."""
    async with AsyncExitStack() as stack:
        codec = await stack.enter_async_context(serving(FakeCodec(slots)))
        lm = await stack.enter_async_context(serving(FakeLm(slots)))
        chosen = GatewaySettings(codec_targets=(codec.target,), lm_targets=(lm.target,), http=False, **settings)
        service = GatewayService(chosen, CallManager(chosen, GatewayMetrics(CollectorRegistry())))
        yield (await stack.enter_async_context(serving(service))).target


async def run(
    target: str,
    scenario: str,
    size: Size,
    options: RunOptions,
    stop_after_s: float = 1e9,
    resumes: bool = False,
    on_look: Callable[[LiveView], None] = lambda view: None,
) -> LoadReport:
    loops = [speech_messages(DEMO_UTTERANCE, options.line)]
    callers = make_callers(SCENARIOS[scenario].plan(size), options, loops)
    watch = ProcessWatch({})

    def look(view: LiveView) -> str:
        on_look(view)
        return "time is up" if view.last(1.0).elapsed_s > stop_after_s else ""

    return make_report(await drive(target, callers, 1, watch, look, resumes), {}, watch)


def assert_accounted_for(report: LoadReport, wanted: int) -> None:
    frames = report.frames
    assert (report.calls.ok, report.calls.failed, report.calls.disagreeing) == (report.calls.made, {}, 0)
    assert (frames.wanted, frames.deficit) == (wanted, 0)
    assert frames.answered == frames.sent + frames.filled - frames.dropped - frames.reply_dropped
    assert report.turnaround_ms.count + frames.unplaced == frames.answered


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.encoding)
async def test_every_frame_of_a_few_callers_is_accounted_for(line: LineFormat) -> None:
    async with gateway(slots=3, **PATIENT) as target:
        report = await run(target, "steady", Size(3, 2.0, 1, 1.0), RunOptions(line))
    assert_accounted_for(report, wanted=3 * 25)
    assert report.gaps == 0
    assert len(report.callers) == 3


async def test_calls_that_end_at_the_edge_are_measured_too() -> None:
    async with gateway(slots=1, **PATIENT) as target:
        report = await run(target, "steady", Size(4, 1.0, 1, 1.0), RunOptions(MULAW, loopback=True))
    assert_accounted_for(report, wanted=4 * 12)


async def test_on_a_bad_line_frames_are_still_accounted_for() -> None:
    impairments: Sequence[str] = ["burst-loss", "bursts", "jitter"]
    options = RunOptions(MULAW, [IMPAIRMENTS[name][0] for name in impairments], seed=3)
    async with gateway(slots=4) as target:
        report = await run(target, "steady", Size(4, 4.0, 1, 1.0), options)
    assert_accounted_for(report, wanted=report.frames.sent)
    assert report.frames.filled > 0


async def test_callers_without_a_slot_are_refused_and_counted() -> None:
    async with gateway(slots=2, **PATIENT) as target:
        report = await run(target, "over-capacity", Size(4, 4.0, 1, 1.0), RunOptions(MULAW))  # all join within a second
    assert (report.calls.made, report.calls.ok, report.calls.rejected) == (4, 2, 2)
    assert report.frames.wanted == 200
    assert report.frames.in_time_ratio <= 0.5


async def test_a_run_that_is_stopped_hangs_up_and_makes_no_further_call() -> None:
    async with gateway(slots=4) as target:
        report = await run(target, "ramp", Size(4, 0.0, 1, 60.0), RunOptions(MULAW), stop_after_s=0.5)
    assert (report.stopped_because, report.calls.made, report.calls.ok) == ("time is up", 1, 1)
    assert report.frames.deficit == 0


@pytest.mark.parametrize("resumes", [True, False])
async def test_calls_whose_line_is_cut_go_on_when_they_are_told_to(resumes: bool) -> None:
    async with gateway(slots=4, **PATIENT) as target, cut_line(target) as line:

        def cut_once(view: LiveView) -> None:
            if not line.cuts and all(caller.is_up for caller in view.callers):
                line.cut()

        size = Size(3, 5.0, 1, 1.0)
        calls = (await run(line.address, "steady", size, RunOptions(MULAW), resumes=resumes, on_look=cut_once)).calls
    if resumes:
        assert (calls.made, calls.ok, calls.resumed, calls.failed) == (6, 3, 3, {})
    else:
        assert (calls.made, calls.ok, calls.resumed, sum(calls.failed.values())) == (3, 0, 0, 3)
        assert set(calls.failed) <= {"UNAVAILABLE", "INTERNAL"}  # the latter where gRPC was about to write


async def test_nobody_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.online.driver._CONNECT_TIMEOUT_S", 0.1)
    with pytest.raises(ConnectionError, match="no gateway answers"):
        await run("127.0.0.1:1", "steady", Size(1, 1.0, 1, 1.0), RunOptions(MULAW))
