"""From a checkpoint's folder to what sessions and gateways are told about the model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.services.codec import loading as codec_loading
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.lm import loading as lm_loading
from moshi_cluster.services.lm.loading import set_mps_priority
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.v1 import common_pb2, lm_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.services.golden_workers import golden_config, golden_lm, open_with
from tests.services.in_process import read, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

PUBLISHED = {"text_temperature": 0.7, "text_top_k": 25, "audio_temperature": 0.8, "audio_top_k": 250}


async def in_use(config: Path, **asked: Any) -> common_pb2.Sampling:
    """What `opened` says to a session that asks for these."""
    async with serving(golden_lm(config=config)) as listener:
        call = lm_pb2_grpc.LmStub(listener.channel).Generate()
        await call.write(open_with(common_pb2.Sampling(seed=7, **asked)))
        opened = (await read(call)).opened
        call.cancel()
    sampling: common_pb2.Sampling = opened.sampling
    return sampling


@pytest.mark.parametrize(
    ("lm_gen_config", "expected"),
    [
        (None, {}),
        (
            {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 25},
            {"text_temperature": 0.0, "audio_temperature": 0.0},
        ),
        ({"temp": 0.5, "top_k_text": 9}, {"audio_temperature": 0.5, "text_top_k": 9}),
        ({"temp_text": 1.5, "top_k": 0}, {"text_temperature": 1.5, "audio_top_k": 500}),
    ],
)
async def test_a_session_that_names_nothing_samples_as_its_checkpoint_says(
    tmp_path: Path, lm_gen_config: dict[str, Any] | None, expected: dict[str, float]
) -> None:
    sampling = await in_use(golden_config(tmp_path, lm_gen_config))
    neutral = {"padding_multiplier": 0.0, "repetition_penalty": 1.0, "repetition_penalty_context": 64}
    assert sampling == common_pb2.Sampling(**PUBLISHED | neutral | {"seed": 7} | expected)


async def test_what_a_session_names_wins_over_its_checkpoint(tmp_path: Path) -> None:
    config = golden_config(tmp_path, {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 25})
    sampling = await in_use(config, audio_temperature=0.75, text_top_k=3)
    assert (sampling.audio_temperature, sampling.text_top_k) == (0.75, 3)
    assert (sampling.text_temperature, sampling.audio_top_k) == (0.0, 250)


@pytest.mark.parametrize(("context", "told"), [(None, 40), (12, 12), (3000, 40)])
async def test_gateways_are_told_how_far_the_model_looks_back(context: int | None, told: int) -> None:
    """40 frames by the checkpoint's own configuration."""
    async with serving(golden_lm(context=context)) as listener:
        watch = worker_pb2_grpc.WorkerStub(listener.channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
        assert (await read(watch)).context_frames == told
        watch.cancel()


def test_the_demo_models_lm_names_the_codec_of_its_own_folder() -> None:
    lm = lm_loading.load(LmSettings(checkpoint=str(DEFAULT_CHECKPOINT), slots=1))
    codec = codec_loading.load(CodecSettings(checkpoint=str(DEFAULT_CHECKPOINT), slots=1))
    assert lm.codec_fingerprint == codec.fingerprint != ""


@pytest.mark.parametrize(("priority", "told"), [("below", "1"), ("normal", "0")])
def test_mps_is_told_the_priority_unless_the_environment_has_one(
    priority: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_CLIENT_PRIORITY", "7")
    set_mps_priority(LmSettings(mps_priority=priority))
    assert os.environ["CUDA_MPS_CLIENT_PRIORITY"] == "7"
    monkeypatch.delenv("CUDA_MPS_CLIENT_PRIORITY")
    set_mps_priority(LmSettings(mps_priority=priority))
    assert os.environ["CUDA_MPS_CLIENT_PRIORITY"] == told


@pytest.mark.parametrize(
    ("loading", "settings"),
    [(codec_loading, CodecSettings(device="cuda:1")), (lm_loading, LmSettings(device="cuda:1"))],
)
def test_a_loading_thread_is_prepared_for_its_device_before_anything_is_loaded(
    loading: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[str] = []

    def find(settings: object) -> None:
        raise InterruptedError(*prepared)

    monkeypatch.setattr(loading, "prepare_thread", prepared.append)
    monkeypatch.setattr(loading, "find", find)
    with pytest.raises(InterruptedError, match="cuda:1"):
        loading.load(settings)
