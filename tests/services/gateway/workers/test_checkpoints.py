"""What an operator is told of the checkpoints of a fleet, on a simulated clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.gateway.workers.checkpoints import CheckpointWatch
from tests.services.simulated_clock import SimulatedClock

STANDS_IN = "no codec worker has the codec that belongs to this lm"


def worker(checkpoint: str, codec_checkpoint: str = "", codebooks: int = 8) -> Any:
    codes = CodeShape(codebooks, codebooks, 64)
    return SimpleNamespace(
        checkpoint=checkpoint, codes=codes, codec_checkpoint=codec_checkpoint, address=f"{checkpoint}:1"
    )


class Fleet:
    """Pools that hold what the test says."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.codec: Any = SimpleNamespace(service="codec", taking=[])
        self.lm: Any = SimpleNamespace(service="lm", taking=[])
        self.watch = CheckpointWatch(self.codec, self.lm, self.clock.time)

    def passes(self, seconds: int) -> None:
        """Reports come once a second."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.watch.look()


def test_an_lm_that_comes_up_before_its_codec_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet()
    fleet.codec.taking, fleet.lm.taking = [worker("other")], [worker("l", "c")]
    fleet.passes(3)
    fleet.codec.taking = [worker("other"), worker("c")]
    fleet.passes(30)
    assert STANDS_IN not in caplog.text


def test_an_lm_whose_own_codec_stays_away_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet()
    fleet.codec.taking, fleet.lm.taking = [worker("other")], [worker("l", "c")]
    fleet.passes(30)
    (told,) = [line for line in caplog.messages if STANDS_IN in line]
    assert "service=lm checkpoint=l" in told and "codec_checkpoint=c" in told


@pytest.mark.parametrize(
    "codecs", [[], [worker("c")], [worker("c", codebooks=4), worker("c")], [worker("foreign", codebooks=4)]]
)
def test_nothing_stands_in_for_a_codec_that_is_there_or_where_nothing_fits(
    codecs: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet()
    fleet.codec.taking, fleet.lm.taking = codecs, [worker("l", "c")]
    fleet.passes(30)
    assert STANDS_IN not in caplog.text


def test_workers_are_counted_by_what_they_have_loaded() -> None:
    fleet = Fleet()
    fleet.codec.taking = [worker("c"), worker("c", codebooks=4), worker("d")]
    fleet.lm.taking = [worker("l", "c"), worker("l", "c")]
    fleet.passes(1)
    assert fleet.watch.workers == {("codec", "c"): 2, ("codec", "d"): 1, ("lm", "l"): 2}
