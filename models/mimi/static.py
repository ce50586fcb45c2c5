"""Static steps of Mimi: sessions' state in fixed buffers on the device, one pass over rows of (slot, frame).

As many rows as the smallest bucket that holds them; those left over work in a scratch slot of their own. Attention
reads the rings where they lie. What a device records knows no number of the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.device_step import DeviceStep
from moshi_cluster.models.kernels.ring_attention import ring_attention, turn_and_write
from moshi_cluster.models.layers.rope import Rope
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.encoder_decoder import LatentDecoder, LatentEncoder
from moshi_cluster.models.mimi.mimi import Mimi
from moshi_cluster.models.mimi.quantizer import Quantizer
from moshi_cluster.models.mimi.streaming import check_slots


class RowAttention:
    """Attention of one frame of each row, T positions of its slot, over rings [slots, heads, places, head_width]."""

    def __init__(self, state: RowState, slots: Tensor, starts: Tensor) -> None:
        """slots, starts: int64 [R], each row's slot and the first of its new positions."""
        config = state.config
        self._state, self._slots = state, slots
        self._positions = starts[:, None] + state.newer
        self._flat_slots = slots[:, None].expand(-1, config.positions_per_frame).flatten()
        self._flat_positions = self._positions.flatten()
        self.rotation = state.rope.rotations(self._flat_positions)
        self._turns = state.scale.repeat(len(self._flat_positions), 1, 1, 1)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v: [R, T, heads, head_width], q and k rotated -> the same shape.

        As in the plain step all T positions are written first, and the first ones see as many keys fewer.
        """
        stored = self._state.keys[layer], self._state.values[layer], None, None
        qkv = torch.stack((q, k, v), dim=2).flatten(0, 1)
        scaled = turn_and_write(qkv, self._turns, self._flat_slots, self._flat_positions, *stored).view(q.shape)
        context, T = self._state.config.context, q.shape[1]
        seen = [
            ring_attention(
                scaled[:, t].contiguous(),
                *stored,
                self._slots,
                self._positions[:, t].contiguous(),
                context - (T - 1 - t),
            )
            for t in range(T)
        ]
        return torch.stack(seen, dim=1).view(q.shape)


class RowState:
    """What every slot remembers, and the scratch slot: past inputs of convolutions, keys and values, frames run."""

    def __init__(self, config: MimiConfig, history_floats: int, slots: int, device: torch.device) -> None:
        self.config = config
        self.slots = slots
        self._history = torch.zeros(slots + 1, history_floats, device=device)
        self._frames = torch.zeros(slots + 1, dtype=torch.int64, device=device)
        shape = config.layers, slots + 1, config.heads, config.context, config.head_width
        self.keys, self.values = (torch.zeros(shape, device=device) for _ in range(2))
        self.rope = Rope(config.head_width, config.max_period, device)
        self.newer = torch.arange(config.positions_per_frame, device=device)
        scale = torch.ones(1, 2, 1, config.head_width // 2, dtype=torch.complex64, device=device)
        scale[:, 0] *= config.head_width**-0.5
        self.scale = scale  # of queries and keys, which come rotated

    def reset(self, slot: int) -> None:
        """Makes a slot as good as new; keys and values of before no later frame sees."""
        self._history[slot] = 0
        self._frames[slot] = 0

    def fetch(self, slots: Tensor) -> tuple[Tensor, Tensor, RowAttention]:
        """The convolutions' past [R, floats], a copy; bool [R], rows without a frame yet; attention of the next one."""
        frames = self._frames[slots]
        attend = RowAttention(self, slots, frames * self.config.positions_per_frame)
        return self._history[slots], frames == 0, attend

    def advance(self, slots: Tensor, history: Tensor) -> None:
        """Stores the convolutions' past after a frame."""
        self._history[slots] = history
        self._frames[slots] += 1


class StaticHalf(ABC):
    """Encoder or decoder: rows of (slot, a frame's int32) through a device's step, launched and finished one by one."""

    def __init__(self, state: RowState, taken: int, given: int, buckets: Sequence[int], device: torch.device) -> None:
        """taken, given: int32 of a frame on its way in and out."""
        self._state = state
        self._step = DeviceStep(self._run, [state.slots] + [0] * taken, given, buckets, device, urgent=True)
        self.device = device

    def warm(self) -> None:
        """Records every bucket where the device can, and loads what `reset` needs there."""
        self._step.warm()
        self.reset(self._state.slots)

    @abstractmethod
    def launch(self, slots: Sequence[int], frames: Tensor) -> None:
        """Starts one frame of the listed slots. Raises ValueError, as the plain half."""

    @abstractmethod
    def finish(self) -> Tensor:
        """Waits for the frame, which is on the host then."""

    def step(self, slots: Sequence[int], frames: Tensor) -> Tensor:
        """One frame of the listed slots: `launch`, then `finish`."""
        self.launch(slots, frames)
        return self.finish()

    def reset(self, slot: int) -> None:
        """Makes a slot as good as new."""
        self._state.reset(slot)

    def _launch(self, slots: Sequence[int], frames: Tensor) -> None:
        """frames: int32 [N, taken] on the host."""
        self._step.launch(torch.cat((torch.tensor(list(slots), dtype=torch.int32)[:, None], frames), dim=1))

    @abstractmethod
    def _run(self, rows: Tensor) -> Tensor:
        """rows: int32 [R, 1 + taken] on the device -> int32 [R, given] there."""


class StaticEncoder(StaticHalf):
    """Frames of samples to codes. The rows' samples travel as the bits of int32."""

    def __init__(
        self,
        encoder: LatentEncoder,
        quantizer: Quantizer,
        state: RowState,
        codebooks: int,
        buckets: Sequence[int],
        device: torch.device,
    ) -> None:
        self._encoder, self._quantizer = encoder, quantizer
        self._samples = state.config.frame_samples
        super().__init__(state, self._samples, codebooks, buckets, device)

    def launch(self, slots: Sequence[int], frames: Tensor) -> None:
        """Starts one frame of the listed slots: float32 [N, 1920]. Raises ValueError, as the plain encoder."""
        if frames.dim() != 2 or frames.shape[1] != self._samples:
            raise ValueError(f"pcm has shape {list(frames.shape)}, expected [N, {self._samples}]")
        check_slots(slots, frames.shape[0], self._state.slots)
        self._launch(slots, frames.to("cpu", torch.float32).contiguous().view(torch.int32))

    def finish(self) -> Tensor:
        """Waits for the frame: codes int64 [N, K] on the host."""
        return self._step.finish().long()

    def _run(self, rows: Tensor) -> Tensor:
        slots, pcm = rows[:, 0].long(), rows[:, 1:].contiguous().view(torch.float32)
        history, fresh, attend = self._state.fetch(slots)
        latents = self._encoder(pcm, history, fresh, attend)
        self._state.advance(slots, history)
        return self._quantizer.encode(latents.squeeze(1)).int()


class StaticDecoder(StaticHalf):
    """Codes to frames of samples, which come back as the bits of int32."""

    def __init__(
        self,
        decoder: LatentDecoder,
        quantizer: Quantizer,
        state: RowState,
        codebooks: int,
        buckets: Sequence[int],
        device: torch.device,
    ) -> None:
        self._decoder, self._quantizer = decoder, quantizer
        self._codebooks = codebooks
        super().__init__(state, codebooks, state.config.frame_samples, buckets, device)

    def launch(self, slots: Sequence[int], frames: Tensor) -> None:
        """Starts one frame of the listed slots: int64 [N, K], all K. Raises ValueError, as the plain decoder."""
        if frames.dim() != 2 or frames.shape[1] != self._codebooks:
            raise ValueError(f"codes have shape {list(frames.shape)}, expected [N, {self._codebooks}]")
        check_slots(slots, frames.shape[0], self._state.slots)
        codes = frames.cpu()
        self._quantizer.check(codes)
        self._launch(slots, codes.int())

    def finish(self) -> Tensor:
        """Waits for the frame: pcm float32 [N, 1920] on the host."""
        return self._step.finish().view(torch.float32)

    def _run(self, rows: Tensor) -> Tensor:
        slots = rows[:, 0].long()
        latents = self._quantizer.latents(rows[:, 1:].long())
        history, _, attend = self._state.fetch(slots)
        pcm: Tensor = self._decoder(latents[:, None], history, attend)
        self._state.advance(slots, history)
        return pcm.contiguous().view(torch.int32)


def static_encoder(mimi: Mimi, slots: int, buckets: Sequence[int]) -> StaticEncoder:
    """Room for `slots` sessions that encode frame by frame."""
    state = RowState(mimi.config, mimi.latent_encoder.history.floats, slots, mimi.device)
    return StaticEncoder(mimi.latent_encoder, mimi.quantizer, state, mimi.codebooks, buckets, mimi.device)


def static_decoder(mimi: Mimi, slots: int, buckets: Sequence[int]) -> StaticDecoder:
    """Room for `slots` sessions that decode frame by frame."""
    state = RowState(mimi.config, mimi.latent_decoder.history.floats, slots, mimi.device)
    return StaticDecoder(mimi.latent_decoder, mimi.quantizer, state, mimi.codebooks, buckets, mimi.device)
