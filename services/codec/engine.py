"""The codec's programs: Mimi's encoder and decoder behind the engine loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.device_step import buckets_up_to
from moshi_cluster.models.mimi import Mimi, StreamingDecoder, StreamingEncoder
from moshi_cluster.models.mimi.static import StaticDecoder, StaticEncoder, static_decoder, static_encoder
from moshi_cluster.services.common.worker.program import Program, Runner


def programs(
    mimi: Mimi,
    slots: int,
    max_batch: int,
    encode_gather_s: float = 0.0,
    decode_gather_s: float = 0.0,
    static_step: bool = False,
) -> list[Program]:
    """Encode and decode, each with its own table of `slots`."""
    max_batch = min(max_batch, slots)
    encode: Runner
    decode: Runner
    if static_step:
        buckets = buckets_up_to(max_batch)
        encode = StaticEncodeRunner(static_encoder(mimi, slots, buckets))
        decode = StaticDecodeRunner(static_decoder(mimi, slots, buckets))
    else:
        encode = EncodeRunner(mimi.encoder(slots), mimi.device)
        decode = DecodeRunner(mimi.decoder(slots), mimi.codebooks, mimi.device)
    return [
        Program("encode", encode, slots, max_batch, encode_gather_s),
        Program("decode", decode, slots, max_batch, decode_gather_s),
    ]


class _AlwaysReady:
    """Sessions without a history."""

    def history_frames(self, spec: Any) -> int:
        return 0

    def open(self, slot: int, spec: Any) -> None:
        """A slot is always ready: it was reset when it was left."""

    def prepare(self, slot: int) -> bool:
        return True


class EncodeRunner(_AlwaysReady):
    """PCM frames (7680 bytes of float32) in, lists of codes out."""

    def __init__(self, encoder: StreamingEncoder, device: torch.device) -> None:
        self._encoder = encoder
        self._device = device

    def warm(self, max_batch: int) -> None:
        prepare_thread(self._device)
        _warm(self, max_batch, bytes(4 * FRAME_SAMPLES))

    def step(self, slots: Sequence[int], frames: Sequence[bytes]) -> list[list[int]]:
        codes: list[list[int]] = self._encoder.step(slots, _pcm(frames)).tolist()
        return codes

    def close(self, slot: int) -> None:
        self._encoder.reset(slot)


class DecodeRunner(_AlwaysReady):
    """Lists of codes in, PCM frames (7680 bytes of float32) out."""

    def __init__(self, decoder: StreamingDecoder, codebooks: int, device: torch.device) -> None:
        self._decoder = decoder
        self._codebooks = codebooks
        self._device = device

    def warm(self, max_batch: int) -> None:
        prepare_thread(self._device)
        _warm(self, max_batch, [0] * self._codebooks)

    def step(self, slots: Sequence[int], frames: Sequence[list[int]]) -> list[bytes]:
        return _bytes(self._decoder.step(slots, torch.tensor(frames)))

    def close(self, slot: int) -> None:
        self._decoder.reset(slot)


class StaticEncodeRunner(_AlwaysReady):
    """`EncodeRunner` over the static step, in two halves."""

    def __init__(self, encoder: StaticEncoder) -> None:
        self._encoder = encoder

    def warm(self, max_batch: int) -> None:
        prepare_thread(self._encoder.device)
        self._encoder.warm()

    def launch(self, slots: Sequence[int], frames: Sequence[bytes]) -> None:
        self._encoder.launch(slots, _pcm(frames))

    def finish(self) -> list[list[int]]:
        codes: list[list[int]] = self._encoder.finish().tolist()
        return codes

    def step(self, slots: Sequence[int], frames: Sequence[bytes]) -> list[list[int]]:
        self.launch(slots, frames)
        return self.finish()

    def close(self, slot: int) -> None:
        self._encoder.reset(slot)


class StaticDecodeRunner(_AlwaysReady):
    """`DecodeRunner` over the static step, in two halves."""

    def __init__(self, decoder: StaticDecoder) -> None:
        self._decoder = decoder

    def warm(self, max_batch: int) -> None:
        prepare_thread(self._decoder.device)
        self._decoder.warm()

    def launch(self, slots: Sequence[int], frames: Sequence[list[int]]) -> None:
        self._decoder.launch(slots, torch.tensor(frames))

    def finish(self) -> list[bytes]:
        return _bytes(self._decoder.finish())

    def step(self, slots: Sequence[int], frames: Sequence[list[int]]) -> list[bytes]:
        self.launch(slots, frames)
        return self.finish()

    def close(self, slot: int) -> None:
        self._decoder.reset(slot)


def _pcm(frames: Sequence[bytes]) -> Tensor:
    return torch.tensor(np.frombuffer(b"".join(frames), "<f4").reshape(len(frames), -1))


def _bytes(pcm: Tensor) -> list[bytes]:
    return [row.tobytes() for row in pcm.cpu().numpy().astype("<f4", copy=False)]


def _warm(runner: EncodeRunner | DecodeRunner, max_batch: int, frame: Any) -> None:
    for batch in range(1, max_batch + 1):
        runner.step(range(batch), [frame] * batch)
    for slot in range(max_batch):
        runner.close(slot)
