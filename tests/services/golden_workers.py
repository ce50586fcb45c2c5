"""The real services around the small models of the golden set, loaded as a process loads them."""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from safetensors.torch import load_file
from torch import Tensor

from moshi_cluster.services.codec import loading as codec_loading
from moshi_cluster.services.codec.server import CodecService
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.lm import loading as lm_loading
from moshi_cluster.services.lm.server import LmService
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.v1 import codec_pb2, common_pb2, lm_pb2
from tests.golden_set import golden_dir


def golden_codec(slots: int = 2, static_step: str = "auto") -> CodecService:
    """A codec worker with Mimi at 8 codebooks."""
    golden = golden_dir()
    settings = CodecSettings(
        config=str(golden / "lm_tiny/config.json"),
        mimi_weights=str(golden / "mimi_tiny/mimi.safetensors"),
        mimi_config=str(golden / "mimi_tiny/mimi_config.json"),
        slots=slots,
        static_step=static_step,
    )
    return CodecService(settings, lambda: codec_loading.load(settings), EngineMetrics("codec", CollectorRegistry()))


def golden_lm(
    slots: int = 2, context: int | None = None, config: Path | None = None, static_step: str = "auto"
) -> LmService:
    """An lm worker in float32, whose history is read in pieces of 16 frames.

    context: frames looked back on. config: a file in place of the model's own.
    """
    golden = golden_dir()
    settings = LmSettings(
        config=str(config or golden / "lm_tiny/config.json"),
        lm_weights=str(golden / "lm_tiny/model.safetensors"),
        tokenizer=str(golden / "lm_tiny/tokenizer_spm_tiny_256.model"),
        slots=slots,
        context=context,
        prefill_chunk_frames=16,
        static_step=static_step,
    )
    return LmService(settings, lambda: lm_loading.load(settings), EngineMetrics("lm", CollectorRegistry()))


def golden_config(folder: Path, lm_gen_config: Mapping[str, Any] | None) -> Path:
    """The golden model's configuration with another sampling of its own, written into a folder."""
    config = json.loads((golden_dir() / "lm_tiny/config.json").read_text())
    path = folder / "config.json"
    path.write_text(json.dumps(config | {"lm_gen_config": lm_gen_config}))
    return path


def golden_tensors(name: str) -> dict[str, Tensor]:
    """Reference tensors, for example "lm_tiny/outputs_f32"."""
    return load_file(golden_dir() / f"{name}.safetensors")


def golden_texts(case: str) -> list[str]:
    """Displayed text of every output frame of a pipeline case, empty where there is none."""
    texts: list[str | None] = json.loads((golden_dir() / "pipeline_tiny/text.json").read_text())[case]
    return [text or "" for text in texts]


def pcm_frames(voice: str, first: int = 0) -> list[codec_pb2.PcmFrame]:
    """A recording as an Encode stream, from its frame `first` on. voice: user_a or user_b."""
    with wave.open(str(golden_dir() / f"audio/{voice}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype("<f4") / np.float32(32768)
    frames = samples.reshape(-1, 1920)[first:]
    return [codec_pb2.PcmFrame(pcm_f32le=frame.tobytes(), frame_index=index) for index, frame in enumerate(frames)]


def code_frames(codes: Sequence[Sequence[int]]) -> list[codec_pb2.CodeFrame]:
    """Rows of codes as a Decode stream."""
    return [codec_pb2.CodeFrame(codes=row, frame_index=index) for index, row in enumerate(codes)]


def samples_of(replies: Sequence[codec_pb2.PcmFrame]) -> np.ndarray:
    """float32 [samples] of a Decode stream's replies."""
    return np.frombuffer(b"".join(reply.pcm_f32le for reply in replies), "<f4")


def greedy_open(history: Sequence[Sequence[int]] = ()) -> lm_pb2.GenerateRequest:
    """history: rows of text token, 8 own codes, 8 user codes."""
    frames = [lm_pb2.HistoryFrame(text_token=row[0], moshi_codes=row[1:9], user_codes=row[9:17]) for row in history]
    return open_with(common_pb2.Sampling(text_temperature=0, audio_temperature=0, seed=0), frames)


def open_with(sampling: common_pb2.Sampling, frames: Sequence[lm_pb2.HistoryFrame] = ()) -> lm_pb2.GenerateRequest:
    return lm_pb2.GenerateRequest(open=lm_pb2.GenerateRequest.Open(sampling=sampling, history=frames))


def user_frames(codes: Sequence[Sequence[int]]) -> list[lm_pb2.GenerateRequest]:
    """Rows of user codes as the frames of a Generate stream."""
    frames = [lm_pb2.GenerateRequest.UserFrame(codes=row, frame_index=index) for index, row in enumerate(codes)]
    return [lm_pb2.GenerateRequest(frame=frame) for frame in frames]


def tokens_of(replies: Sequence[lm_pb2.GenerateResponse]) -> list[list[int]]:
    """Rows of text token and 8 own codes."""
    return [[reply.frame.text_token, *reply.frame.moshi_codes] for reply in replies]
