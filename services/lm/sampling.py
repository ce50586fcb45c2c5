"""How a session's tokens are drawn, from and to the wire."""

from __future__ import annotations

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.lm.session import SessionSpec
from moshi_cluster.v1 import common_pb2

_MAX_TEMPERATURE = 10.0
_MOST_TOP_K = 500
_MAX_PADDING_MULTIPLIER = 4.0
_REPETITION_PENALTY = (1.0, 2.0)
_MAX_REPETITION_PENALTY_CONTEXT = 200

# What no checkpoint says anything about.
_NEUTRAL = common_pb2.Sampling(padding_multiplier=0.0, repetition_penalty=1.0, repetition_penalty_context=64)


def parse_sampling(wanted: common_pb2.Sampling, checkpoints: common_pb2.Sampling) -> common_pb2.Sampling:
    """`wanted` with every field present and checked. Raises InvalidInput.

    checkpoints: values for what is absent.
    """
    if not wanted.HasField("seed"):
        raise InvalidInput("open.sampling.seed", "required")
    sampling = common_pb2.Sampling()
    for part in (_NEUTRAL, checkpoints, wanted):
        sampling.MergeFrom(part)
    for name in ("text_temperature", "audio_temperature"):
        _check(name, sampling, 0.0, _MAX_TEMPERATURE)
    for name in ("text_top_k", "audio_top_k"):
        if getattr(sampling, name) < 1:
            raise InvalidInput(f"open.sampling.{name}", "must be at least 1")
        # Noise and a sort for a whole vocabulary of 32000 would cost every session of the batch its time.
        setattr(sampling, name, min(getattr(sampling, name), _MOST_TOP_K))
    _check("padding_multiplier", sampling, -_MAX_PADDING_MULTIPLIER, _MAX_PADDING_MULTIPLIER)
    _check("repetition_penalty", sampling, *_REPETITION_PENALTY)
    _check("repetition_penalty_context", sampling, 0, _MAX_REPETITION_PENALTY_CONTEXT)
    return sampling


def sampling_of(spec: SessionSpec) -> common_pb2.Sampling:
    """What a session uses, as the wire has it."""
    return common_pb2.Sampling(
        text_temperature=spec.text_temperature,
        text_top_k=spec.text_top_k,
        audio_temperature=spec.audio_temperature,
        audio_top_k=spec.audio_top_k,
        seed=spec.seed,
        padding_multiplier=spec.padding_multiplier,
        repetition_penalty=spec.repetition_penalty,
        repetition_penalty_context=spec.repetition_penalty_context,
    )


def _check(name: str, sampling: common_pb2.Sampling, lowest: float, highest: float) -> None:
    if not lowest <= getattr(sampling, name) <= highest:
        raise InvalidInput(f"open.sampling.{name}", f"must be {lowest:g} to {highest:g}")
