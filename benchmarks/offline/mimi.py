"""Codec contender: our frame, encoded and decoded."""

from __future__ import annotations

import torch

from benchmarks.offline.measure import timed_steps
from moshi_cluster.models.mimi import Mimi, StreamingDecoder, StreamingEncoder

_OPENING_STEPS = 3
_LOUDNESS = 0.07  # standard deviation of speech


class MimiFrames:
    """`batch` sessions whose transformers look at a full window."""

    def __init__(self, mimi: Mimi, batch: int) -> None:
        self._device = torch.device(mimi.device)
        self._slots = list(range(batch))
        random = torch.Generator().manual_seed(0)
        self._pcm = _LOUDNESS * torch.randn(batch, mimi.config.frame_samples, generator=random)
        self._codecs: tuple[StreamingEncoder, StreamingDecoder] | None = (mimi.encoder(batch), mimi.decoder(batch))
        for codec in self._codecs:
            _age(codec, self._slots, -(-mimi.config.context // mimi.config.positions_per_frame))
        self.run(_OPENING_STEPS)

    def run(self, steps: int) -> list[float]:
        """Milliseconds of each of that many steps, after one that does not count."""
        return timed_steps(self.step, steps, self._device)

    def step(self) -> None:
        """One frame of every session, there and back."""
        if self._codecs is None:
            raise RuntimeError("the sessions are closed")
        encoder, decoder = self._codecs
        decoder.step(self._slots, encoder.step(self._slots, self._pcm)).cpu()

    def close(self) -> None:
        """Ends the sessions."""
        self._codecs = None


def _age(codec: StreamingEncoder | StreamingDecoder, slots: list[int], frames: int) -> None:
    """Pretends that so many frames have been run; keys and values stay zero, which costs the same."""
    for slot in slots:
        codec._states._frames[slot] += frames
