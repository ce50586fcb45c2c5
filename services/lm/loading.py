"""Lm loading: from settings to a Moshi that runs."""

from __future__ import annotations

import os

import torch

from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.loading import Checkpoint, FileNames, Part, codec_fingerprint, resolve
from moshi_cluster.models.loading.fingerprint import fingerprint
from moshi_cluster.models.loading.inspect_lm import inspect_lm
from moshi_cluster.models.loading.lm import LmOptions, lm_fingerprint, load_lm
from moshi_cluster.models.loading.tokenizer import Tokenizer
from moshi_cluster.models.moshi_lm import Generator, MoshiLm
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from moshi_cluster.services.common.worker.cuda_stats import device_look
from moshi_cluster.services.common.worker.program import CPU_GATHER_MS, gather_s
from moshi_cluster.services.lm.engine import program
from moshi_cluster.services.lm.fitting import (
    activation_dtype,
    choose_slots,
    kv_dtype,
    largest_batch,
    prefill_chunk_frames,
    step_buckets,
    uses_static_step,
)
from moshi_cluster.services.lm.personas import Personas
from moshi_cluster.services.lm.server import LmModel
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.services.lm.voices import voices_of

_MPS_PRIORITY = "CUDA_MPS_CLIENT_PRIORITY"  # NVIDIA's Multi-Process Service, environment variables
_PRIORITIES = {"normal": 0, "below": 1}


def find(settings: LmSettings) -> Checkpoint:
    """Finds, and downloads if need be, the files of the LM and its tokenizer. Raises CheckpointError."""
    return resolve(settings.hf_repo or settings.checkpoint, _files(settings), Part.LM)


def load(settings: LmSettings) -> LmModel:
    """Finds, downloads if need be, and loads the LM and its tokenizer. Raises CheckpointError and NoRoomError."""
    torch.set_num_threads(settings.threads)
    set_mps_priority(settings)
    prepare_thread(settings.device)
    checkpoint = find(settings)
    assert checkpoint.lm_weights is not None and checkpoint.tokenizer is not None  # Part.LM asked for them
    options = LmOptions(settings.quantize, settings.fuse_lora, settings.lora_scaling)
    quantised = settings.quantize is not None or inspect_lm(checkpoint.lm_weights).quantised
    dtype = activation_dtype(settings, quantised)
    lm = load_lm(checkpoint, dtype, settings.device, options)
    config = lm.config
    tokenizer = Tokenizer(checkpoint.tokenizer, config.existing_text_padding_id)
    slots = choose_slots(settings, config, kv_dtype(settings, dtype))
    max_batch = largest_batch(settings, slots)
    generator = _generator(lm, settings, slots, max_batch, kv_dtype(settings, dtype))
    most_frames = min(settings.max_prompt_frames, generator.context - 1)
    voices, voice_files = voices_of(settings, config, most_frames)
    checkpoint_fingerprint = lm_fingerprint(checkpoint, options)
    if voice_files:
        checkpoint_fingerprint = fingerprint([{"checkpoint": checkpoint_fingerprint}], voice_files)
    return LmModel(
        programs=[
            program(
                generator,
                config,
                tokenizer.piece,
                slots,
                max_batch,
                prefill_chunk_frames(settings),
                gather_s(settings.gather_ms, settings.device, CPU_GATHER_MS),
            )
        ],
        fingerprint=checkpoint_fingerprint,
        codec_fingerprint=codec_fingerprint(settings.hf_repo or settings.checkpoint, _files(settings)),
        context_frames=generator.context,
        text_card=config.text_card,
        audio_card=config.card,
        moshi_codebooks=config.dep_q,
        user_codebooks=config.n_q - config.dep_q,
        sampling=config.lm_gen_config,
        prompt=Personas(config, tokenizer.encode, voices, most_frames).prompt,
        prompt_cache=generator.prompt_cache,
        device=device_look(settings.device),
    )


def _files(settings: LmSettings) -> FileNames:
    return FileNames(
        config=settings.config, lm=settings.lm_weights, lora=settings.lora_weights, tokenizer=settings.tokenizer
    )


def _generator(
    lm: MoshiLm, settings: LmSettings, slots: int, max_batch: int, dtype: torch.dtype
) -> Generator | StaticGenerator:
    cache_bytes = settings.prompt_cache_mb * 1_000_000
    if not uses_static_step(settings):
        return Generator(lm, slots, settings.context, dtype, cache_bytes)
    buckets = step_buckets(settings, max_batch)
    return StaticGenerator(
        lm,
        slots,
        settings.context,
        dtype,
        buckets,
        prefill_frames=prefill_chunk_frames(settings),
        prompt_cache_bytes=cache_bytes,
    )


def set_mps_priority(settings: LmSettings) -> None:
    """Tells MPS, which looks when CUDA is first used, unless whoever started this process has."""
    os.environ.setdefault(_MPS_PRIORITY, str(_PRIORITIES[settings.mps_priority]))
