"""`start` field by field: what is given is taken, what makes no sense is refused by the field's name."""

from __future__ import annotations

from typing import Any

import pytest

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.api.grpc.start import parse_start
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.calls.spec import CallSpec, Slo
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2, gateway_pb2

SETTINGS = GatewaySettings(jitter_allowance_ms=120)
S16_8K = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_PCM_S16LE, sample_rate_hz=8000)
MULAW = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW)
Sampling, Format = common_pb2.Sampling, gateway_pb2.AudioFormat


def parse(**fields: Any) -> CallSpec:
    return parse_start(gateway_pb2.Start(**{"input_format": S16_8K, **fields}), SETTINGS)


REFUSED = [
    ("start.input_format", {"input_format": None}),
    ("start.input_format.encoding", {"input_format": Format(sample_rate_hz=8000)}),
    ("start.input_format.encoding", {"input_format": Format(encoding=99, sample_rate_hz=8000)}),
    ("start.input_format.sample_rate_hz", {"input_format": Format(encoding=gateway_pb2.ENCODING_PCM_S16LE)}),
    ("start.output_format.encoding", {"output_format": Format()}),
    ("start.output_format.sample_rate_hz", {"output_format": Format(encoding=3, sample_rate_hz=16_000)}),
    ("start.reply_packet_ms", {"reply_packet_ms": 7}),
    ("start.reply_packet_ms", {"reply_packet_ms": 110}),
    ("start.reply_pacing", {"reply_pacing": 3}),
    ("start.jitter_allowance_ms", {"jitter_allowance_ms": 0}),
    ("start.jitter_allowance_ms", {"jitter_allowance_ms": 19}),
    ("start.jitter_allowance_ms", {"jitter_allowance_ms": 2001}),
    ("start.sampling.text_temperature", {"sampling": Sampling(text_temperature=-0.1)}),
    ("start.sampling.text_temperature", {"sampling": Sampling(text_temperature=float("nan"))}),
    ("start.sampling.audio_temperature", {"sampling": Sampling(audio_temperature=10.1)}),
    ("start.sampling.audio_temperature", {"sampling": Sampling(audio_temperature=float("inf"))}),
    ("start.sampling.text_top_k", {"sampling": Sampling(text_top_k=0)}),
    ("start.sampling.text_top_k", {"sampling": Sampling(text_top_k=501)}),
    ("start.sampling.audio_top_k", {"sampling": Sampling(audio_top_k=0)}),
    ("start.sampling.audio_top_k", {"sampling": Sampling(audio_top_k=2**32 - 1)}),
    ("start.sampling.padding_multiplier", {"sampling": Sampling(padding_multiplier=4.1)}),
    ("start.sampling.padding_multiplier", {"sampling": Sampling(padding_multiplier=-4.1)}),
    ("start.sampling.padding_multiplier", {"sampling": Sampling(padding_multiplier=float("nan"))}),
    ("start.sampling.repetition_penalty", {"sampling": Sampling(repetition_penalty=0.9)}),
    ("start.sampling.repetition_penalty", {"sampling": Sampling(repetition_penalty=2.1)}),
    ("start.sampling.repetition_penalty", {"sampling": Sampling(repetition_penalty=float("nan"))}),
    ("start.sampling.repetition_penalty_context", {"sampling": Sampling(repetition_penalty_context=201)}),
    ("start.slo.max_late_ratio", {"slo": gateway_pb2.Slo(max_late_ratio=1.1)}),
    ("start.slo.max_late_ratio", {"slo": gateway_pb2.Slo(max_late_ratio=-0.1)}),
    ("start.slo.max_late_ratio", {"slo": gateway_pb2.Slo(max_late_ratio=float("nan"))}),
    ("start.call_label", {"call_label": "x" * 129}),
    ("start.call_label", {"call_label": "a\nline"}),
    ("start.call_label", {"call_label": "Zoë"}),
]


@pytest.mark.parametrize(("field", "fields"), REFUSED)
def test_a_field_that_makes_no_sense_is_refused_by_its_name(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(**fields)
    assert error.value.field == field
    assert str(error.value).startswith(f"{field}: ")


def test_what_is_absent_takes_its_default() -> None:
    spec = parse()
    assert spec.input_format == spec.output_format == AudioFormat(Encoding.PCM_S16LE, 8000)
    assert (spec.reply_packet_ms, spec.paced, spec.loopback, spec.label) == (80, False, False, "")
    assert spec.jitter_allowance_s == pytest.approx(0.120)
    assert spec.slo == Slo(0.0, 0)


def test_a_seed_is_drawn_when_there_is_none_and_nothing_else_is_made_up() -> None:
    first, second = parse().sampling, parse().sampling
    assert first.HasField("seed") and first.seed != second.seed
    assert max(first.seed, second.seed) < 2**53
    for name in ("text_temperature", "text_top_k", "audio_temperature", "audio_top_k"):
        assert not first.HasField(name), name


def test_what_is_given_is_taken() -> None:
    sampling = Sampling(
        text_temperature=0, text_top_k=1, audio_temperature=10, audio_top_k=500, seed=0, padding_multiplier=-4,
        repetition_penalty=2, repetition_penalty_context=200,
    )  # fmt: skip
    spec = parse(
        output_format=MULAW,
        reply_packet_ms=20,
        reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED,
        sampling=sampling,
        slo=gateway_pb2.Slo(max_late_ratio=1, max_backlog_frames=3),
        jitter_allowance_ms=2000,
        loopback=True,
        call_label="line 7, ~",
    )
    assert spec.output_format == AudioFormat(Encoding.MULAW, 8000)
    assert (spec.reply_packet_ms, spec.paced, spec.loopback, spec.label) == (20, True, True, "line 7, ~")
    assert spec.sampling == sampling
    assert spec.slo == Slo(1.0, 3)
    assert spec.jitter_allowance_s == 2.0


def test_burst_is_the_same_as_no_pacing_asked_for() -> None:
    assert not parse(reply_pacing=gateway_pb2.Start.REPLY_PACING_BURST).paced


def test_the_sampling_of_a_call_is_its_own() -> None:
    start = gateway_pb2.Start(input_format=S16_8K, sampling=Sampling(seed=1))
    spec = parse_start(start, SETTINGS)
    start.sampling.seed = 2
    assert spec.sampling.seed == 1
