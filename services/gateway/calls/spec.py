"""What a call is: `start`, checked, free of the wire."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, parse_reply_packet_ms
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2, gateway_pb2

_MAX_TEMPERATURE = 10.0
_MAX_PADDING_MULTIPLIER = 4.0
_REPETITION_PENALTY = (1.0, 2.0)
_MAX_REPETITION_PENALTY_CONTEXT = 200
_MAX_LABEL_CHARACTERS = 128
_JITTER_ALLOWANCE_MS = range(20, 2001)


@dataclass(frozen=True)
class Slo:
    """When a call is no longer real time; zero means not checked."""

    max_late_ratio: float
    max_backlog_frames: int


@dataclass(frozen=True)
class CallSpec:
    """One call, fixed for its life."""

    input_format: AudioFormat
    output_format: AudioFormat
    reply_packet_ms: int
    paced: bool
    jitter_allowance_s: float
    sampling: common_pb2.Sampling  # seed always present
    slo: Slo
    loopback: bool
    label: str


def parse_start(start: gateway_pb2.Start, settings: GatewaySettings) -> CallSpec:
    """Checks a `start`. Raises InvalidInput naming the field."""
    if not start.HasField("input_format"):
        raise InvalidInput("start.input_format", "required")
    input_format = _parse_format(start.input_format, "start.input_format")
    output_format = (
        _parse_format(start.output_format, "start.output_format") if start.HasField("output_format") else input_format
    )
    return CallSpec(
        input_format=input_format,
        output_format=output_format,
        reply_packet_ms=parse_reply_packet_ms(start.reply_packet_ms, output_format),
        paced=_parse_pacing(start.reply_pacing),
        jitter_allowance_s=_parse_jitter_allowance_ms(start, settings) / 1000,
        sampling=_parse_sampling(start.sampling),
        slo=_parse_slo(start.slo),
        loopback=start.loopback,
        label=_parse_label(start.call_label),
    )


def _parse_format(wanted: gateway_pb2.AudioFormat, field: str) -> AudioFormat:
    return AudioFormat.parse(wanted.encoding, wanted.sample_rate_hz, field)


def _parse_pacing(pacing: int) -> bool:
    if pacing not in gateway_pb2.Start.ReplyPacing.values():
        raise InvalidInput("start.reply_pacing", f"unknown value {pacing}")
    return pacing == gateway_pb2.Start.REPLY_PACING_PACED


def _parse_jitter_allowance_ms(start: gateway_pb2.Start, settings: GatewaySettings) -> int:
    if not start.HasField("jitter_allowance_ms"):
        return settings.jitter_allowance_ms
    if start.jitter_allowance_ms not in _JITTER_ALLOWANCE_MS:
        raise InvalidInput("start.jitter_allowance_ms", f"must be 20 to 2000, got {start.jitter_allowance_ms}")
    return int(start.jitter_allowance_ms)


def _parse_sampling(wanted: common_pb2.Sampling) -> common_pb2.Sampling:
    for name in ("text_temperature", "audio_temperature"):
        if not 0 <= getattr(wanted, name) <= _MAX_TEMPERATURE:
            raise InvalidInput(f"start.sampling.{name}", f"must be 0 to {_MAX_TEMPERATURE:g}")
    for name in ("text_top_k", "audio_top_k"):
        if wanted.HasField(name) and getattr(wanted, name) < 1:
            raise InvalidInput(f"start.sampling.{name}", "must be at least 1")
    _check_text_bias(wanted)
    sampling = common_pb2.Sampling()
    sampling.CopyFrom(wanted)
    if not sampling.HasField("seed"):
        sampling.seed = secrets.randbits(63)
    return sampling


def _check_text_bias(wanted: common_pb2.Sampling) -> None:
    if not abs(wanted.padding_multiplier) <= _MAX_PADDING_MULTIPLIER:
        limit = f"{_MAX_PADDING_MULTIPLIER:g}"
        raise InvalidInput("start.sampling.padding_multiplier", f"must be -{limit} to {limit}")
    lowest, highest = _REPETITION_PENALTY
    if wanted.HasField("repetition_penalty") and not lowest <= wanted.repetition_penalty <= highest:
        raise InvalidInput("start.sampling.repetition_penalty", f"must be {lowest:g} to {highest:g}")
    if wanted.repetition_penalty_context > _MAX_REPETITION_PENALTY_CONTEXT:
        limit = f"{_MAX_REPETITION_PENALTY_CONTEXT}"
        raise InvalidInput("start.sampling.repetition_penalty_context", f"must be at most {limit}")


def _parse_slo(slo: gateway_pb2.Slo) -> Slo:
    if not 0 <= slo.max_late_ratio <= 1:
        raise InvalidInput("start.slo.max_late_ratio", "must be 0 to 1")
    return Slo(slo.max_late_ratio, slo.max_backlog_frames)


def _parse_label(label: str) -> str:
    if len(label) > _MAX_LABEL_CHARACTERS or not (label.isascii() and (label.isprintable() or not label)):
        raise InvalidInput("start.call_label", f"must be at most {_MAX_LABEL_CHARACTERS} printable ASCII characters")
    return label
