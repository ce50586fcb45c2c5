"""Streaming Mimi: sessions that run frame by frame, each in a slot of its own (docs/model.md 1.6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.mimi.attention import Attend, MimiKvCache
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.encoder_decoder import LatentDecoder, LatentEncoder
from moshi_cluster.models.mimi.quantizer import Quantizer


class SlotStates:
    """What every slot remembers: past inputs of the convolutions, rings of keys and values, frames run."""

    def __init__(self, config: MimiConfig, history_floats: int, slots: int, device: torch.device) -> None:
        self._positions_per_frame = config.positions_per_frame
        self._device = device
        self._history = torch.zeros(slots, history_floats, device=device)
        self._cache = MimiKvCache(config, slots, device)
        self._frames = [0] * slots

    def reset(self, slot: int) -> None:
        """Makes a slot as good as new, whatever went through it."""
        self._history[slot] = 0
        self._cache.reset(slot)
        self._frames[slot] = 0

    def check(self, slots: Sequence[int], rows: int) -> None:
        """As `check_slots`."""
        check_slots(slots, rows, len(self._frames))

    def fetch(self, slots: Sequence[int]) -> Tensor:
        """The convolutions' past, a copy [N, floats]."""
        return self._history.index_select(0, self._rows(slots))

    def fresh(self, slots: Sequence[int]) -> Tensor:
        """bool [N]: slots that have run no frame yet."""
        return torch.tensor([self._frames[slot] == 0 for slot in slots], device=self._device)

    def attend(self, slots: Sequence[int]) -> Attend:
        """Attention for the next frame of these slots."""
        return self._cache.frame(slots, [self._frames[slot] * self._positions_per_frame for slot in slots])

    def advance(self, slots: Sequence[int], history: Tensor) -> None:
        """Stores the convolutions' past after a frame."""
        self._history.index_copy_(0, self._rows(slots), history)
        for slot in slots:
            self._frames[slot] += 1

    def _rows(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots, device=self._device)


class StreamingEncoder:
    """Frames of samples to codes."""

    def __init__(
        self, encoder: LatentEncoder, quantizer: Quantizer, config: MimiConfig, slots: int, device: torch.device
    ) -> None:
        self._encoder, self._quantizer = encoder, quantizer
        self._frame_samples = config.frame_samples
        self._states = SlotStates(config, encoder.history.floats, slots, device)

    @torch.inference_mode()
    def step(self, slots: Sequence[int], pcm: Tensor) -> Tensor:
        """One frame for the listed slots, all others keep their state: pcm [N, 1920] -> codes int64 [N, K].

        A row depends on its own slot only, bit for bit on CPU. Raises ValueError for slots or a shape that cannot be.
        """
        return self._quantizer.encode(self.latents(slots, pcm))

    @torch.inference_mode()
    def latents(self, slots: Sequence[int], pcm: Tensor) -> Tensor:
        """One frame for the listed slots, before quantisation: pcm [N, 1920] -> latents [N, D]. Otherwise as `step`."""
        if pcm.dim() != 2 or pcm.shape[1] != self._frame_samples:
            raise ValueError(f"pcm has shape {list(pcm.shape)}, expected [N, {self._frame_samples}]")
        self._states.check(slots, pcm.shape[0])
        history = self._states.fetch(slots)
        attend, fresh = self._states.attend(slots), self._states.fresh(slots)
        latents = self._encoder(pcm.to(history), history, fresh, attend)
        self._states.advance(slots, history)
        return latents.squeeze(1)

    def reset(self, slot: int) -> None:
        """Makes a slot as good as new, whatever went through it."""
        self._states.reset(slot)


class StreamingDecoder:
    """Codes to frames of samples."""

    def __init__(
        self, decoder: LatentDecoder, quantizer: Quantizer, config: MimiConfig, slots: int, device: torch.device
    ) -> None:
        self._decoder, self._quantizer, self._device = decoder, quantizer, device
        self._states = SlotStates(config, decoder.history.floats, slots, device)

    @torch.inference_mode()
    def step(self, slots: Sequence[int], codes: Tensor) -> Tensor:
        """One frame for the listed slots, all others keep their state: codes int64 [N, K] -> pcm [N, 1920].

        A row depends on its own slot only, bit for bit on CPU. Raises ValueError for slots, a shape or a code that
        cannot be.
        """
        if codes.dim() != 2:
            raise ValueError(f"codes have shape {list(codes.shape)}, expected [N, K]")
        self._states.check(slots, codes.shape[0])
        latents = self._quantizer.decode(codes.to(self._device))
        history = self._states.fetch(slots)
        pcm = self._decoder(latents[:, None], history, self._states.attend(slots))
        self._states.advance(slots, history)
        return pcm

    def reset(self, slot: int) -> None:
        """Makes a slot as good as new, whatever went through it."""
        self._states.reset(slot)


def check_slots(slots: Sequence[int], rows: int, most: int) -> None:
    """Raises ValueError unless `slots` number `rows`, are distinct, and exist among so many."""
    if len(slots) != rows:
        raise ValueError(f"{len(slots)} slots but {rows} rows")
    if len(set(slots)) != rows or not all(0 <= slot < most for slot in slots):
        raise ValueError(f"slots {list(slots)}: not distinct numbers below {most}")
