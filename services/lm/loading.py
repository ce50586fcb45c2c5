"""From settings to an lm that runs."""

from __future__ import annotations

import torch

from moshi_cluster.models.loading import FileNames, Part, resolve
from moshi_cluster.models.loading.inspect_lm import recognise_lm
from moshi_cluster.models.loading.lm import LmOptions, lm_fingerprint, load_lm
from moshi_cluster.models.loading.tokenizer import Tokenizer
from moshi_cluster.models.moshi_lm import Generator
from moshi_cluster.models.moshi_lm.config import SamplingDefaults
from moshi_cluster.services.common.worker.program import CPU_GATHER_MS, gather_s
from moshi_cluster.services.lm.engine import program
from moshi_cluster.services.lm.fitting import activation_dtype, choose_slots, kv_dtype
from moshi_cluster.services.lm.server import LmModel
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.v1 import common_pb2

_WHOLE_VOCABULARY = 1 << 31


def load(settings: LmSettings) -> LmModel:
    """Finds, downloads if need be, and loads the LM and its tokenizer. Raises CheckpointError and NoRoomError."""
    torch.set_num_threads(settings.threads)
    files = FileNames(
        config=settings.config, lm=settings.lm_weights, lora=settings.lora_weights, tokenizer=settings.tokenizer
    )
    checkpoint = resolve(settings.hf_repo or settings.checkpoint, files, Part.LM)
    assert checkpoint.lm_weights is not None and checkpoint.tokenizer is not None  # Part.LM asked for them
    options = LmOptions(settings.quantize, settings.fuse_lora)
    quantised = settings.quantize is not None or recognise_lm(checkpoint.lm_weights).quantised
    dtype = activation_dtype(settings, quantised)
    lm = load_lm(checkpoint, dtype, settings.device, options)
    config = lm.config
    tokenizer = Tokenizer(checkpoint.tokenizer, config.existing_text_padding_id)
    slots = choose_slots(settings, config, kv_dtype(settings, dtype))
    generator = Generator(lm, slots, settings.context, kv_dtype(settings, dtype))
    return LmModel(
        programs=[
            program(
                generator,
                config,
                tokenizer.piece,
                slots,
                settings.max_batch,
                settings.prefill_chunk_frames,
                gather_s(settings.gather_ms, settings.device, CPU_GATHER_MS),
            )
        ],
        fingerprint=lm_fingerprint(checkpoint, options),
        text_card=config.text_card,
        audio_card=config.card,
        moshi_codebooks=config.dep_q,
        user_codebooks=config.n_q - config.dep_q,
        sampling=_default_sampling(config.lm_gen_config),
    )


def _default_sampling(given: SamplingDefaults) -> common_pb2.Sampling:
    """On the wire there is no 0 for the whole vocabulary."""
    return common_pb2.Sampling(
        text_temperature=given.text_temperature,
        text_top_k=given.text_top_k or _WHOLE_VOCABULARY,
        audio_temperature=given.audio_temperature,
        audio_top_k=given.audio_top_k or _WHOLE_VOCABULARY,
    )
