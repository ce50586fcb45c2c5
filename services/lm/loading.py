"""From settings to an lm that runs."""

from __future__ import annotations

import torch

from models.loading import Checkpoint, FileNames, Part, resolve
from models.loading.lm import load_lm
from models.loading.tokenizer import Tokenizer
from models.moshi_lm import Generator
from moshi_cluster.v1 import common_pb2
from services.common.program import CPU_GATHER_MS, gather_s
from services.lm.engine import program
from services.lm.server import LmModel
from services.lm.settings import LmSettings


def load(settings: LmSettings) -> LmModel:
    """Finds, downloads if need be, and loads the LM and its tokenizer. Raises CheckpointError."""
    torch.set_num_threads(settings.threads)
    files = FileNames(config=settings.config, lm=settings.lm_weights, tokenizer=settings.tokenizer)
    checkpoint = resolve(settings.hf_repo or settings.checkpoint, files, Part.LM)
    lm = load_lm(checkpoint, _dtype(settings), settings.device)
    config = lm.config
    assert checkpoint.tokenizer is not None  # Part.LM asked for it
    tokenizer = Tokenizer(checkpoint.tokenizer, config.existing_text_padding_id)
    generator = Generator(lm, settings.slots, settings.context)
    return LmModel(
        programs=[
            program(
                generator,
                config,
                tokenizer.piece,
                settings.slots,
                settings.max_batch,
                settings.prefill_chunk_frames,
                gather_s(settings.gather_ms, settings.device, CPU_GATHER_MS),
            )
        ],
        fingerprint=checkpoint.fingerprint,
        text_card=config.text_card,
        audio_card=config.card,
        moshi_codebooks=config.dep_q,
        user_codebooks=config.n_q - config.dep_q,
        sampling=_default_sampling(checkpoint),
    )


def _dtype(settings: LmSettings) -> torch.dtype:
    if settings.dtype == "auto":
        return torch.float32 if torch.device(settings.device).type == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[settings.dtype]


def _default_sampling(checkpoint: Checkpoint) -> common_pb2.Sampling:
    """The checkpoint's own figures, and upstream's where it has none."""
    given = checkpoint.lm_gen_config
    return common_pb2.Sampling(
        text_temperature=given.get("temp_text", 0.7),
        text_top_k=given.get("top_k_text", 25),
        audio_temperature=given.get("temp", 0.8),
        audio_top_k=given.get("top_k", 250),
    )
