"""The lm's program: Moshi's generator behind the engine loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.moshi_lm import Generator, LmConfig
from moshi_cluster.models.moshi_lm.generator import ReplyFrames
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from moshi_cluster.models.sampling import Sampling
from moshi_cluster.services.common.worker.program import Program
from moshi_cluster.services.lm.session import LmReply, SessionSpec


def program(
    generator: Generator | StaticGenerator,
    config: LmConfig,
    piece: Callable[[int], str],
    slots: int,
    max_batch: int,
    prefill_chunk_frames: int,
    gather_s: float = 0.0,
) -> Program:
    """The one program of an lm worker. piece: displayed text of a token."""
    runner: LmRunner
    if isinstance(generator, StaticGenerator):
        runner = StaticLmRunner(generator, config, piece, prefill_chunk_frames)
    else:
        runner = LmRunner(generator, config, piece, prefill_chunk_frames)
    return Program("lm", runner, slots, min(max_batch, slots), gather_s)


class LmRunner:
    """Lists of user codes in, LmReply out."""

    def __init__(
        self,
        generator: Generator | StaticGenerator,
        config: LmConfig,
        piece: Callable[[int], str],
        prefill_chunk_frames: int,
    ) -> None:
        self._generator = generator
        self._config = config
        self._piece = piece
        self._prefill_chunk_frames = prefill_chunk_frames

    def warm(self, max_batch: int) -> None:
        prepare_thread(self._generator.device)
        no_history = np.empty((0, 1 + self._config.n_q), np.int64)
        greedy = SessionSpec(Sampling(text_temperature=0.0, audio_temperature=0.0), no_history)
        sampled = SessionSpec(Sampling(), no_history)
        silence = [0] * self._config.user_codebooks
        for slot in range(max_batch):
            self.open(slot, sampled if slot % 2 else greedy)
            while not self.prepare(slot):
                pass
        for batch in range(1, max_batch + 1):
            self.step(range(batch), [silence] * batch)
        for slot in range(max_batch):
            self.close(slot)

    def history_frames(self, spec: SessionSpec) -> int:
        return spec.prompt_frames + len(spec.history)

    def open(self, slot: int, spec: SessionSpec) -> None:
        history = torch.from_numpy(spec.history)
        self._generator.open(slot, spec.sampling, history, spec.earlier_frames, spec.prompt)

    def prepare(self, slot: int) -> bool:
        return not self._generator.prefill(slot, self._prefill_chunk_frames)

    def step(self, slots: Sequence[int], frames: Sequence[list[int]]) -> list[LmReply]:
        return self._replies(self._generator.step(slots, torch.tensor(frames)))

    def close(self, slot: int) -> None:
        self._generator.close(slot)

    def _replies(self, reply: ReplyFrames) -> list[LmReply]:
        return [
            LmReply(codes, token, self._piece(token))
            for codes, token in zip(reply.audio.tolist(), reply.text.tolist(), strict=True)
        ]


class StaticLmRunner(LmRunner):
    """The same over the static step, in two halves."""

    def __init__(
        self, generator: StaticGenerator, config: LmConfig, piece: Callable[[int], str], prefill_chunk_frames: int
    ) -> None:
        super().__init__(generator, config, piece, prefill_chunk_frames)
        self._static = generator

    def warm(self, max_batch: int) -> None:
        prepare_thread(self._static.device)
        self._static.warm()

    def launch(self, slots: Sequence[int], frames: Sequence[list[int]]) -> None:
        self._static.launch(slots, torch.tensor(frames))

    def finish(self) -> list[LmReply]:
        return self._replies(self._static.finish())
