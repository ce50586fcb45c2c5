from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.ghz import scenario
from benchmarks.ghz.keys import problems, seconds
from benchmarks.ghz.scenario import LOOPBACK_CALLS, NAMES, GhzScenario, load
from moshi_cluster.services.gateway.api.grpc.metadata_options import parse_call
from moshi_cluster.services.gateway.calls.spec import CallSpec, Slo
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import codec_pb2, gateway_pb2, lm_pb2
from tests.benchmarks.ghz.replay import parse

EVERY = pytest.mark.parametrize("name", NAMES)
CONVERSE = [name for name in NAMES if load(name).service == "gateway"]


def test_every_configuration_file_is_a_scenario() -> None:
    assert {path.stem for path in scenario.FOLDER.glob("*.json")} == set(NAMES)


@EVERY
def test_every_key_is_one_that_ghz_reads_with_a_value_of_its_kind(name: str) -> None:
    config = json.loads((scenario.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert problems(config) == []
    assert config["name"] == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream_interval": "20ms"},
        {"stream-interval": 20},
        {"stream-interval": "20 ms"},
        {"total": "16"},
        {"total": -1},
        {"insecure": "true"},
        {"metadata": {"moshi-seed": 1}},
    ],
)
def test_a_misspelt_key_or_a_value_of_another_kind_is_found(wrong: dict[str, object]) -> None:
    assert len(problems(wrong)) == 1


def test_durations_are_read_as_go_reads_them() -> None:
    assert (seconds("20ms"), seconds("1m30s"), seconds("1.5h")) == (0.02, 90.0, 5400.0)


@EVERY
def test_the_defaults_that_would_spoil_a_run_are_set(name: str) -> None:
    config = load(name).config
    assert {"timeout", "connections", "connect-timeout", "stream-interval", "data-file"} <= config.keys()
    assert config["connections"] <= config["concurrency"], "ghz refuses more connections than workers"
    assert seconds(config["timeout"]) >= 1.5 * load(name).ideal_s()
    if "duration" in config:
        assert config["duration-stop"] == "wait" and "total" not in config
    else:
        assert config["total"] == config["concurrency"]


@EVERY
def test_no_worker_schedule_is_used(name: str) -> None:
    """With `total`, ghz 0.121 closes the schedule's channel when the last call begins and panics at its next step."""
    assert "concurrency-schedule" not in load(name).config


@EVERY
def test_every_message_is_one_of_our_contract(name: str) -> None:
    messages = parse(load(name))
    assert len(messages) > 1
    assert all(message.ByteSize() > 0 for message in messages[:-1])


def spec_of(scenario: GhzScenario) -> CallSpec:
    """What its 15th call asks the gateway for."""
    first, *others = parse(scenario)
    assert isinstance(first, gateway_pb2.ConverseRequest)
    assert all(message.WhichOneof("message") == "audio" for message in others)
    texts = scenario.config["metadata"]
    metadata = [(key, text.replace("{{.RequestNumber}}", "15")) for key, text in texts.items()]
    return parse_call(first.start, metadata, GatewaySettings())


@pytest.mark.parametrize("name", CONVERSE)
def test_start_and_metadata_make_a_call(name: str) -> None:
    spec = spec_of(load(name))
    assert spec.label == f"ghz {name} 15"
    assert not spec.loopback


@pytest.mark.parametrize("name", CONVERSE)
def test_a_calibration_is_the_same_caller_on_a_loopback_call_without_limits(name: str) -> None:
    calibration = load(name).calibration()
    assert calibration is not None
    assert problems(calibration.config) == []
    assert calibration.ideal_s() == load(name).ideal_s()
    called, asked = spec_of(load(name)), spec_of(calibration)
    assert asked == replace(called, loopback=True, slo=Slo())
    calls = min(load(name).config["concurrency"], LOOPBACK_CALLS)
    assert [calibration.config[key] for key in ("total", "concurrency")] == [calls, calls]
    assert not {"rps", "duration"} & calibration.config.keys()


def test_a_gateway_holds_all_calls_of_a_calibration() -> None:
    assert GatewaySettings().max_loopback_sessions == LOOPBACK_CALLS


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(CONVERSE)))
def test_a_worker_has_no_loopback_calls_to_calibrate_with(name: str) -> None:
    assert load(name).calibration() is None


@pytest.mark.parametrize("name", CONVERSE)
def test_a_loop_is_as_long_in_audio_as_in_turns(name: str) -> None:
    start, *audio = parse(load(name))
    line = start.start.input_format
    sample_bytes = {gateway_pb2.ENCODING_MULAW: 1, gateway_pb2.ENCODING_PCM_S16LE: 2}[line.encoding]
    samples = sum(len(message.audio.data) for message in audio) // sample_bytes
    interval_s = seconds(load(name).config["stream-interval"])
    assert samples / line.sample_rate_hz == pytest.approx((1 + len(audio)) * interval_s)
    assert max(len(message.audio.data) for message in audio) // sample_bytes <= line.sample_rate_hz  # of a message


def test_an_array_with_frame_numbers_is_sent_once_and_counts_without_a_gap() -> None:
    codec, lm = load("codec-only"), load("lm-only")
    assert not {"stream-call-count", "stream-call-duration"} & (codec.config.keys() | lm.config.keys())
    frames = parse(codec)
    assert all(isinstance(frame, codec_pb2.PcmFrame) for frame in frames)
    assert [frame.frame_index for frame in frames] == list(range(len(frames)))
    opening, *user = parse(lm)
    assert isinstance(opening, lm_pb2.GenerateRequest)
    assert opening.open.sampling.HasField("seed")
    assert [request.frame.frame_index for request in user] == list(range(len(user)))
