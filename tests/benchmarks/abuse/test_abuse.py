"""Floods and their verdict; `python -m benchmarks.abuse` runs all of them for longer."""

from __future__ import annotations

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from benchmarks.abuse import beside as beside_module
from benchmarks.abuse.__main__ import main
from benchmarks.abuse.beside import FLOODS, Part, Round, flooding_process
from benchmarks.abuse.flood import Flood, Ports, Tally, run
from benchmarks.abuse.verdict import broken, table
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import cluster


def round_of(p99_ms: float, without_p99_ms: float = 30.0, lost: int = 0, grown_mb: float = 1.0) -> Round:
    """A round with these figures and no others of interest."""
    without, beside = Part(100, 0.02, without_p99_ms / 1000), Part(100, 0.03, p99_ms / 1000)
    grown = {"gateway-0": round(grown_mb * 2**20), "lm-0": 0}
    return Round("web-pings", without, beside, Tally(), lost, lost, grown, {"gateway-0": 0.25, "lm-0": 0.1})


@pytest.mark.parametrize(
    ("round_", "sentences"),
    [
        (round_of(99.0), []),
        (round_of(101.0), ["web-pings: p99 101 ms > 100 ms"]),
        (round_of(101.0, without_p99_ms=60.0), []),
        (round_of(121.0, without_p99_ms=60.0), ["web-pings: p99 121 ms > 120 ms"]),
        (round_of(float("nan")), ["web-pings: p99 nan ms > 100 ms"]),
        (
            round_of(50.0, lost=2),
            ["web-pings: 2 callers lost their call", "web-pings: 2 frames of the callers were lost"],
        ),
        (round_of(50.0, grown_mb=70), ["web-pings: gateway-0 grew by 70 MB"]),
    ],
)
def test_a_flood_that_is_felt_is_named(round_: Round, sentences: list[str]) -> None:
    assert list(broken(round_)) == sentences


def test_a_round_is_a_row() -> None:
    assert table([round_of(50.0)]).splitlines()[1].split() == [
        *("web-pings", "0", "20", "30", "30", "50", "1.0", "0.25"),
    ]


def test_a_flood_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["web-pings", "web-nothing"])
    assert "no flood is called web-nothing" in capsys.readouterr().err


@pytest.mark.cluster
def test_a_caller_is_measured_beside_a_flood(tmp_path: Path) -> None:
    """How they fare is no question for a machine that runs tests, nor what a process of lowest priority gets done."""
    arguments = ["web-again", "--callers", "1", "--seconds", "1.5", "--json", str(tmp_path / "run.json")]
    assert main(arguments) in (0, 3)
    (round_,) = json.loads((tmp_path / "run.json").read_text())["rounds"]
    assert round_["name"] == "web-again"
    assert round_["without"]["frames"] > 0


@pytest.mark.parametrize("name", ["web-pings", "web-nonsense", "web-again", "rpc-keys", "rpc-aborted-openings"])
async def test_a_flood_reaches_the_gateway(name: str) -> None:
    async with cluster(**HTTP) as all_of_it:
        ports = Ports(all_of_it.target, f"127.0.0.1:{all_of_it.service.http_port}", "", "")
        tally, seconds = Tally(), 0.5
        while not tally.sent:
            tally = await run(Flood("", FLOODS[name].clients[:2]), ports, seconds)
            seconds *= 2


async def test_a_flood_that_fails_ends_the_callers_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []

    class Talking:
        async def call(self, *_: object) -> None:
            try:
                await asyncio.sleep(600)
            finally:
                ends.append("ended")

    def fails(*_: object) -> Tally:
        raise OSError("no port is free")

    monkeypatch.setattr(beside_module, "_flood", fails)
    monkeypatch.setattr(beside_module, "_SETTLE_S", 0.0)
    with ThreadPoolExecutor(1) as thread, pytest.RaisesGroup(OSError):
        callers = [Talking(), Talking()]
        await beside_module.beside(thread, "web-pings", Ports("", "", "", ""), callers, {"own": os.getpid()}, 0.0)  # type: ignore[arg-type]
    assert ends == ["ended", "ended"]


async def test_a_flood_that_never_ends_is_ended_with_its_process() -> None:
    with pytest.raises(BrokenProcessPool):
        async with flooding_process() as process:
            await asyncio.get_running_loop().run_in_executor(process, _hangs)


def _hangs() -> None:
    beside_module._OVERDUE_S = 0.5
    beside_module.run = lambda *_: time.sleep(60)  # type: ignore[assignment]
    beside_module._flood("web-pings", Ports("", "", "", ""), 0.0)


def test_every_kind_of_flood_is_there() -> None:
    assert {name.partition("-")[0] for name in FLOODS} == {"web", "rpc"}
    assert all(flood.clients and flood.summary for flood in FLOODS.values())
