"""A whole greedy call through gateway, codec and lm with the golden models: what the original server answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from moshi_cluster.v1 import common_pb2
from tests.services.gateway.caller import Caller, Heard
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.golden_workers import (
    golden_codec,
    golden_config,
    golden_lm,
    golden_tensors,
    golden_texts,
    pcm_frames,
)

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("nothing_swallowed")]

GREEDY = common_pb2.Sampling(text_temperature=0, audio_temperature=0, seed=0)
# The original server resets the codec after the first frame, whose codes the LM does not use.
SPOKEN = b"".join(message.pcm_f32le for message in pcm_frames("user_a", first=1))


async def conversation(all_of_it: Cluster, packet_bytes: int, sampling: common_pb2.Sampling | None = GREEDY) -> Heard:
    caller = Caller(all_of_it.stub)
    await caller.start(sampling=sampling)
    for position in range(0, len(SPOKEN), packet_bytes):
        await caller.say(SPOKEN[position : position + packet_bytes])
    return await caller.hang_up()


@pytest.mark.parametrize("packet_bytes", [4 * 1920, 4 * 480, 4 * 1003])
async def test_a_call_equals_the_original_servers(packet_bytes: int) -> None:
    async with cluster([golden_codec()], [golden_lm()]) as all_of_it:
        heard = await conversation(all_of_it, packet_bytes)
    played = np.frombuffer(heard.audio, "<f4")
    np.testing.assert_allclose(played, golden_tensors("pipeline_tiny/outputs")["server_pcm"].numpy(), atol=1e-4, rtol=0)
    texts = [(index, text) for index, text in enumerate(golden_texts("server")) if text]
    assert heard.texts == texts
    assert heard.counters.frames_in == heard.counters.frames_out == 37


async def test_a_call_that_names_no_sampling_is_answered_as_the_checkpoint_says(tmp_path: Path) -> None:
    greedy = golden_config(tmp_path, {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 25})
    async with cluster([golden_codec()], [golden_lm(config=greedy)]) as all_of_it:
        heard = await conversation(all_of_it, 4 * 1920, sampling=None)
    assert heard.texts == [(index, text) for index, text in enumerate(golden_texts("server")) if text]


async def test_two_calls_at_once_are_bitwise_the_same_as_one() -> None:
    async with cluster([golden_codec()], [golden_lm()]) as all_of_it:
        alone = await conversation(all_of_it, 4 * 1920)
        await all_of_it.until_free()  # there are two slots
        one, other = await asyncio.gather(*(conversation(all_of_it, size) for size in (4 * 480, 4 * 1920)))
    assert alone.audio == one.audio == other.audio
    assert alone.texts == one.texts == other.texts


async def test_the_history_of_a_call_is_what_the_models_said() -> None:
    async with cluster([golden_codec()], [golden_lm()]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(sampling=GREEDY)
        (call,) = (live.call for live in all_of_it.manager.calls)
        for position in range(0, len(SPOKEN), 4 * 1920):
            await caller.say(SPOKEN[position : position + 4 * 1920])
        await caller.hang_up()
    golden = golden_tensors("pipeline_tiny/outputs")
    history = [[row.text_token, *row.moshi_codes, *row.user_codes] for row in call.history.last()[1]]
    assert [row[:9] for row in history] == golden["server_tokens"].tolist()
    assert [row[9:] for row in history] == golden["server_user_codes"][1:].tolist()
