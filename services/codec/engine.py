"""The codec's programs: Mimi's encoder and decoder behind the engine loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.mimi import Mimi, StreamingDecoder, StreamingEncoder
from moshi_cluster.services.common.worker.program import Program


def programs(
    mimi: Mimi, slots: int, max_batch: int, encode_gather_s: float = 0.0, decode_gather_s: float = 0.0
) -> list[Program]:
    """Encode and decode, each with its own table of `slots`."""
    max_batch = min(max_batch, slots)
    return [
        Program("encode", EncodeRunner(mimi.encoder(slots)), slots, max_batch, encode_gather_s),
        Program("decode", DecodeRunner(mimi.decoder(slots), mimi.codebooks), slots, max_batch, decode_gather_s),
    ]


class EncodeRunner:
    """PCM frames (7680 bytes of float32) in, lists of codes out."""

    def __init__(self, encoder: StreamingEncoder) -> None:
        self._encoder = encoder

    def warm(self, max_batch: int) -> None:
        _warm(self, max_batch, bytes(4 * FRAME_SAMPLES))

    def history_frames(self, spec: Any) -> int:
        return 0

    def open(self, slot: int, spec: Any) -> None:
        """A slot is always ready: it was reset when it was left."""

    def prepare(self, slot: int) -> bool:
        return True

    def step(self, slots: Sequence[int], frames: Sequence[bytes]) -> list[list[int]]:
        pcm = np.frombuffer(b"".join(frames), "<f4").reshape(len(frames), -1)
        codes: list[list[int]] = self._encoder.step(slots, torch.tensor(pcm)).tolist()
        return codes

    def close(self, slot: int) -> None:
        self._encoder.reset(slot)


class DecodeRunner:
    """Lists of codes in, PCM frames (7680 bytes of float32) out."""

    def __init__(self, decoder: StreamingDecoder, codebooks: int) -> None:
        self._decoder = decoder
        self._codebooks = codebooks

    def warm(self, max_batch: int) -> None:
        _warm(self, max_batch, [0] * self._codebooks)

    def history_frames(self, spec: Any) -> int:
        return 0

    def open(self, slot: int, spec: Any) -> None:
        """A slot is always ready: it was reset when it was left."""

    def prepare(self, slot: int) -> bool:
        return True

    def step(self, slots: Sequence[int], frames: Sequence[list[int]]) -> list[bytes]:
        pcm = self._decoder.step(slots, torch.tensor(frames))
        return [row.tobytes() for row in pcm.cpu().numpy().astype("<f4", copy=False)]

    def close(self, slot: int) -> None:
        self._decoder.reset(slot)


def _warm(runner: EncodeRunner | DecodeRunner, max_batch: int, frame: Any) -> None:
    for batch in range(1, max_batch + 1):
        runner.step(range(batch), [frame] * batch)
    for slot in range(max_batch):
        runner.close(slot)
