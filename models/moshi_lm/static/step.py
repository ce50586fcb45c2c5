"""The static step itself: a function of tensors that never move, so that a device can record and repeat it.

A row is (slot, call, tokens known at this call). Decoding, the opening replay and prefill are all rows of one step,
with the same arithmetic; they differ in how many of their tokens are known. There are as many rows as the smallest
bucket that holds them; those left over are nobody's, at call -1 of the scratch slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.device_step import DeviceStep, buckets_up_to
from moshi_cluster.models.kernels.choose import choose
from moshi_cluster.models.kernels.text_bias import text_bias
from moshi_cluster.models.moshi_lm.model import MoshiLm
from moshi_cluster.models.moshi_lm.static.kv_rings import SPARE_PLACES, RowAttention, kv_rings
from moshi_cluster.models.moshi_lm.static.session_state import RowSettings, SessionState

BUCKETS = (16, 64, 128)
"""Numbers of rows of a step. Below about 200 rows a product costs what reading its weights costs."""
_ROOM = 32


def buckets_for(sessions: int) -> tuple[int, ...]:
    """Numbers of rows for steps of up to so many sessions, with room for the prefill of others."""
    return buckets_up_to(sessions + _ROOM)


class StaticStep:
    """All sessions' state and the step over it. Rows go in as one copy, replies come out as one."""

    def __init__(
        self,
        lm: MoshiLm,
        slots: int,
        context: int | None = None,
        kv_dtype: torch.dtype | None = None,
        buckets: Sequence[int] = BUCKETS,
        spare: int = SPARE_PLACES,
    ) -> None:
        """context, kv_dtype: as for `Generator`; spare: rows of one session that a step may have, at most."""
        config = lm.config
        self.spare = spare
        self.context = min(context or config.context, config.context)
        self.slots = slots
        self._lm, self.config = lm, config
        shape = slots, config.num_heads, self.context + spare, config.dim // config.num_heads
        self.rings = kv_rings(config.num_layers, shape, kv_dtype or lm.dtype, lm.device)
        self.state = SessionState(config, slots, spare, lm.device)
        nobody = [slots, -1] + [-1] * config.streams
        self._step = DeviceStep(self.run, nobody, config.generated, buckets, lm.device)
        self.buckets = self._step.buckets
        self.most_rows = self._step.most_rows

    @property
    def in_flight(self) -> bool:
        """Whether a step was launched and not finished."""
        return self._step.in_flight

    def warm(self) -> None:
        """Records every bucket where the device can; no session may be open."""
        self._step.warm()

    def launch(self, rows: Tensor) -> None:
        """rows: int32 [N, 2 + streams] on the host: slot, call, known tokens, -1 for those to be sampled.

        At most `spare` rows of one slot, of which at most the last has text to be sampled that belongs to a frame.
        """
        self._step.launch(rows)

    def finish(self) -> Tensor:
        """Waits for what was launched: the frames that the rows completed, int32 [N, generated] on the host."""
        return self._step.finish()

    @torch.inference_mode()
    def read(self, slot: int, embeddings: Tensor) -> None:
        """A session's first calls once more, from what they read in place of tokens [T, D]: keys and values alone.

        No step may be in flight, and T is at most the context.
        """
        device = self._lm.device
        for first in range(0, len(embeddings), self.spare):
            part = embeddings[first : first + self.spare].to(device)
            calls = torch.arange(first, first + len(part), device=device)
            slots, tokens = torch.full_like(calls, slot), torch.zeros(len(part), self.config.streams, dtype=torch.int64)
            attention = RowAttention(self.rings, self.context, slots, calls)
            self._lm.remember(tokens.to(device), calls, attention, part)

    def run(self, rows: Tensor) -> Tensor:
        """rows: int32 [R, 2 + streams] on the device -> replies int32 [R, generated] there."""
        wide = rows.long()
        slots, calls = wide[:, :2].T.contiguous()
        known = wide[:, 2:]
        inputs = self.state.inputs(slots, calls, known)
        hidden = self._lm.hidden(inputs, calls, RowAttention(self.rings, self.context, slots, calls))
        settings = self.state.settings(slots)
        tokens = self._choose(hidden, calls, known, settings)
        self.state.sampled(slots, calls, tokens)
        self.state.spoke(slots, calls, tokens[:, 0], known[:, 0], settings)
        return self.state.replies(slots, calls).int()

    def _choose(self, hidden: Tensor, calls: Tensor, known: Tensor, settings: RowSettings) -> Tensor:
        """hidden: [R, D] -> text and own codes int64 [R, generated]."""

        numbers = calls + settings.earlier_calls

        def chosen(stream: int, logits: Tensor) -> Tensor:
            kind = min(stream, 1)  # text or audio
            rule = settings.temperatures[kind], settings.top_ks[kind]
            return choose(logits, settings.seeds, numbers, *rule, known[:, stream], stream)

        bias = settings.spoken, settings.counts, settings.remembered, settings.penalties, settings.paddings
        logits = text_bias(self._lm.text_logits(hidden), *bias, self.config.existing_text_padding_id)
        text = chosen(0, logits)
        audio = self._lm.audio(hidden, text, lambda codebook, of: chosen(1 + codebook, of))
        return torch.cat((text[:, None], audio), dim=1)
