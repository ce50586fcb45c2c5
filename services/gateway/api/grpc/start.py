"""Start of a call over gRPC, from the message to the specification."""

from __future__ import annotations

from moshi_cluster.models.sampling import SamplingError, check
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, parse_reply_packet_ms
from moshi_cluster.services.gateway.calls.persona import check_persona
from moshi_cluster.services.gateway.calls.spec import CallSpec, Slo, check_label, draw_seed
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2, gateway_pb2

_MAX_RESUME_TOKEN_CHARACTERS = 128
_JITTER_ALLOWANCE_MS = range(20, 2001)


def parse_start(start: gateway_pb2.Start, settings: GatewaySettings) -> CallSpec:
    """Specification of the call that a `start` asks for. Raises InvalidInput naming the field."""
    if not start.HasField("input_format"):
        raise InvalidInput("start.input_format", "required")
    input_format = _parse_format(start.input_format, "start.input_format")
    output_format = (
        _parse_format(start.output_format, "start.output_format") if start.HasField("output_format") else input_format
    )
    _check_resume(start)
    return CallSpec(
        input_format=input_format,
        output_format=output_format,
        reply_packet_ms=parse_reply_packet_ms(start.reply_packet_ms, output_format),
        jitter_allowance_s=_parse_jitter_allowance_ms(start, settings) / 1000,
        sampling=_parse_sampling(start.sampling),
        paced=_parse_pacing(start.reply_pacing),
        slo=_parse_slo(start.slo),
        loopback=start.loopback,
        persona=_parse_persona(start),
        label=check_label(start.call_label, "start.call_label"),
    )


def _parse_format(asked: gateway_pb2.AudioFormat, field: str) -> AudioFormat:
    return AudioFormat.parse(asked.encoding, asked.sample_rate_hz, field)


def _parse_jitter_allowance_ms(start: gateway_pb2.Start, settings: GatewaySettings) -> int:
    if not start.HasField("jitter_allowance_ms"):
        return settings.jitter_allowance_ms
    if start.jitter_allowance_ms not in _JITTER_ALLOWANCE_MS:
        raise InvalidInput("start.jitter_allowance_ms", "must be 20 to 2000", got_ms=start.jitter_allowance_ms)
    return int(start.jitter_allowance_ms)


def _parse_sampling(asked: common_pb2.Sampling) -> common_pb2.Sampling:
    try:
        check({field.name: value for field, value in asked.ListFields()})
    except SamplingError as error:
        raise InvalidInput(f"start.sampling.{error.name}", error.expected) from None
    sampling = common_pb2.Sampling()
    sampling.CopyFrom(asked)
    if not sampling.HasField("seed"):
        sampling.seed = draw_seed()
    return sampling


def _parse_persona(start: gateway_pb2.Start) -> common_pb2.Persona:
    check_persona(start.persona, "start.persona.text_prompt", "start.persona.voice", start.loopback)
    return start.persona


def _check_resume(start: gateway_pb2.Start) -> None:
    if len(start.resume_token) > _MAX_RESUME_TOKEN_CHARACTERS:
        raise InvalidInput("start.resume_token", f"must be at most {_MAX_RESUME_TOKEN_CHARACTERS} characters")
    if start.resume_token and start.loopback:
        raise InvalidInput("start.resume_token", "belongs to no loopback call")
    if start.resume_heard_frames and not start.resume_token:
        raise InvalidInput("start.resume_heard_frames", "needs start.resume_token")


def _parse_pacing(pacing: int) -> bool:
    if pacing not in gateway_pb2.Start.ReplyPacing.values():
        raise InvalidInput("start.reply_pacing", "unknown value", got=pacing)
    return pacing == gateway_pb2.Start.REPLY_PACING_PACED


def _parse_slo(slo: gateway_pb2.Slo) -> Slo:
    if not 0 <= slo.max_late_ratio <= 1:
        raise InvalidInput("start.slo.max_late_ratio", "must be 0 to 1")
    return Slo(slo.max_late_ratio, slo.max_backlog_frames)
