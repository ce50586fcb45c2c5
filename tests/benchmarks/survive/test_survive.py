"""Calls survive the loss of a worker of each kind; `make survive` does much more, in real time's terms."""

from __future__ import annotations

import pytest

from benchmarks.survive.__main__ import main
from benchmarks.survive.conversation import voices
from benchmarks.survive.outcome import Judge
from benchmarks.survive.run import Pace, run
from benchmarks.survive.scenarios import SCENARIOS, UNDISTURBED, Scenario
from benchmarks.survive.steps import Step
from benchmarks.survive.supervisor import Supervisor
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from tests.cluster.conftest import PATIENT

CALLERS = voices(4)
PACE = Pace(calm_s=1.0, after_s=2.0, undisturbed_s=10.0)
BOTH_LOST = Scenario("one of each kind is lost", [Step("kill", "lm-0"), Step("kill", "codec-0")], newcomers=False)


@pytest.mark.cluster
async def test_calls_go_on_to_the_last_token_when_an_lm_is_killed_and_go_on_when_a_codec_is() -> None:
    layout = Layout(str(DEFAULT_CHECKPOINT), codec_workers=2, lm_workers=2, slots=8)
    # Nothing is dropped, so every token can be compared; and nobody moves because this machine is slow.
    with LocalCluster(layout, PATIENT | {"MOSHI_GATEWAY_ANSWER_TIMEOUT_S": "30"}) as cluster:
        supervisor = Supervisor(cluster)
        undisturbed = await run(supervisor, UNDISTURBED, SCENARIOS[UNDISTURBED], CALLERS, PACE, print)
        hurt = await run(supervisor, "both", BOTH_LOST, CALLERS, PACE, print)
    judge = Judge(hurt.conversations, hurt.windows[0], undisturbed.first_calls())
    lm, codec = (judge.outcome("both", window) for window in hurt.windows[1:])
    for outcome in (lm, codec):
        assert outcome.moves == outcome.on_it > 0
        assert (outcome.lost, outcome.refused, outcome.inexact) == (0, 0, 0)
        assert len(outcome.moved.gaps_s) == outcome.on_it
    for compared in (lm.greedy, lm.sampled):
        assert compared.frames > 0
        assert (compared.texts, compared.sounds) == (0, 0)
    assert hurt.leaked_slots == 0


def test_a_scenario_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        (["kill-lm", "kill-all"], "no scenario is called kill-all"),
        (["kill-lm", "--random"], "--random takes no scenario"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert sentence in capsys.readouterr().err
