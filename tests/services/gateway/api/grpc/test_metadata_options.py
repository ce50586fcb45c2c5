from __future__ import annotations

import pytest

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.api.grpc.metadata_options import OPTIONS, parse_call, with_metadata
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2, gateway_pb2

START = gateway_pb2.Start(
    input_format=gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_PCM_S16LE, sample_rate_hz=24_000)
)
ALL = {
    "moshi-slo-max-late-ratio": "0.05",
    "moshi-slo-max-backlog-frames": "6",
    "moshi-loopback": "true",
    "moshi-seed": "18446744073709551615",
    "moshi-call-label": "true",  # a word that means something elsewhere
    "moshi-reply-packet-ms": "20",
    "moshi-reply-pacing": "paced",
    "moshi-jitter-allowance-ms": "250",
}
UNREADABLE = {
    "moshi-slo-max-late-ratio": ["", "a", "1e99", "0.05;"],
    "moshi-slo-max-backlog-frames": ["-1", "1.5", "4294967296", "six"],
    "moshi-loopback": ["", "1", "True", "yes"],
    "moshi-seed": ["-1", "18446744073709551616", "0x1"],
    "moshi-reply-packet-ms": ["20ms", "-20"],
    "moshi-reply-pacing": ["", "1", "REPLY_PACING_BURST"],
    "moshi-jitter-allowance-ms": ["soon"],
}
OUT_OF_RANGE = {
    "moshi-slo-max-late-ratio": ["-0.1", "1.5", "NaN"],
    "moshi-reply-packet-ms": ["25", "110"],
    "moshi-jitter-allowance-ms": ["0", "19", "2001"],
    "moshi-call-label": ["x" * 129, "caf\u00e9"],
}


def test_every_option_reaches_its_field() -> None:
    assert ALL.keys() == OPTIONS.keys()
    merged = with_metadata(START, ALL.items())
    assert merged == gateway_pb2.Start(
        input_format=START.input_format,
        slo=gateway_pb2.Slo(max_late_ratio=0.05, max_backlog_frames=6),
        loopback=True,
        sampling=common_pb2.Sampling(seed=2**64 - 1),
        call_label="true",
        reply_packet_ms=20,
        reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED,
        jitter_allowance_ms=250,
    )


def test_start_wins_where_it_has_the_field_and_is_left_as_it_was() -> None:
    start = gateway_pb2.Start(
        input_format=START.input_format,
        slo=gateway_pb2.Slo(max_backlog_frames=3),
        sampling=common_pb2.Sampling(seed=0, text_temperature=0),
        call_label="mine",
    )
    before = start.SerializeToString(deterministic=True)
    merged = with_metadata(start, ALL.items())
    assert (merged.slo.max_backlog_frames, merged.sampling.seed, merged.call_label) == (3, 0, "mine")
    assert merged.slo.max_late_ratio == pytest.approx(0.05)
    assert merged.sampling.HasField("text_temperature")
    assert start.SerializeToString(deterministic=True) == before


def test_metadata_of_others_changes_nothing() -> None:
    others = [("user-agent", "tool"), ("traceparent", "00-1"), ("grpc-trace-bin", b"\x00")]
    assert with_metadata(START, others) == START


def test_the_options_take_part_in_the_call() -> None:
    spec = parse_call(START, ALL.items(), GatewaySettings())
    assert (spec.loopback, spec.paced, spec.reply_packet_ms, spec.jitter_allowance_s) == (True, True, 20, 0.25)
    assert (spec.sampling.seed, spec.slo.max_backlog_frames, spec.label) == (2**64 - 1, 6, "true")


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for table in (UNREADABLE, OUT_OF_RANGE) for key, values in table.items() for value in values],
)
def test_a_bad_value_is_refused_by_the_name_of_its_key(key: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_call(START, [(key, value)], GatewaySettings())
    assert refused.value.field == f"metadata.{key}"


@pytest.mark.parametrize("key", ["moshi-slo", "moshi-sead", "moshi-seed-bin"])
def test_a_misspelt_option_is_refused_instead_of_forgotten(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_call(START, [(key, b"1" if key.endswith("-bin") else "1")], GatewaySettings())
    assert refused.value.field == f"metadata.{key}"


def test_a_fault_of_start_itself_is_named_as_before() -> None:
    start = gateway_pb2.Start(input_format=START.input_format, jitter_allowance_ms=5)
    with pytest.raises(InvalidInput) as refused:
        parse_call(start, [("moshi-jitter-allowance-ms", "9")], GatewaySettings())
    assert refused.value.field == "start.jitter_allowance_ms"
