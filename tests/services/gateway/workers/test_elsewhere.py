"""Calls that leave their workers: they go on with the checkpoint and the codes that they began with, or not at all."""

from __future__ import annotations

import pytest

from moshi_cluster.services.common.errors import Unavailable
from tests.services.gateway.cluster import EchoCodec, EchoLm
from tests.services.gateway.workers.test_fleet import SAMPLING, fleet_of_many
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

LONG_S = 1000.0  # beyond any test


async def test_no_call_moves_to_another_checkpoint_or_another_number_of_codebooks() -> None:
    codecs = [EchoCodec(9), EchoCodec(2, checkpoint="other"), EchoCodec(2, codebooks=4)]
    lms = [EchoLm(9), EchoLm(2, checkpoint="other")]
    async with fleet_of_many(codecs, lms) as fleet:
        streams = await fleet.open(SAMPLING, lambda most: (0, ()))
        assert (codecs[0].live_sessions, lms[0].live_sessions) == (2, 1), "most free slots"
        with pytest.raises(Unavailable):
            await fleet.elsewhere.codec_streams(streams.encode, leave=True)
        with pytest.raises(Unavailable):
            await fleet.elsewhere.lm_stream(streams.lm, lambda most: (0, ()), leave=True)
        assert not any(worker.live_sessions for worker in (*codecs[1:], lms[1]))
        streams.cancel()


async def test_of_two_workers_that_drain_neither_gets_the_others_calls() -> None:
    codecs = [EchoCodec(drain_linger_s=LONG_S) for _ in range(2)]
    async with fleet_of_many(codecs, [EchoLm()]) as fleet:
        streams = await fleet.open(SAMPLING, lambda most: (0, ()))
        # A report from before it may still be on its way; by that one the two would be equal.
        await eventually(lambda: any(each.capacity and each.capacity.slots_used for each in fleet.codec.taking))
        held = [streams, await fleet.open(SAMPLING, lambda most: (0, ()))]
        assert [codec.live_sessions for codec in codecs] == [2, 2], "neither is let go of"
        for codec in codecs:
            codec.drain(2 * LONG_S)
        await eventually(lambda: [worker.lingers for worker in fleet.codec.taking] == [True, True])
        with pytest.raises(Unavailable):
            await fleet.elsewhere.codec_streams(streams.encode, leave=True)
        opened = await fleet.elsewhere.codec_streams(streams.encode, leave=False)  # it has lost its own
        for each in (opened, *held):
            each.cancel()
