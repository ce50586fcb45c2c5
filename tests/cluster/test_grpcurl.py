"""grpcurl, which has no protos: it lists and describes each service by reflection, and calls."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from moshi_cluster.cluster.local_cluster import LocalCluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        shutil.which("grpcurl") is None, reason="grpcurl is not on the PATH (github.com/fullstorydev/grpcurl)"
    ),
]

OURS = "moshi_cluster.v1"
EVERYWHERE = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}
SERVICES = {
    "gateway-0": {f"{OURS}.Gateway"},
    "codec-0": {f"{OURS}.Codec", f"{OURS}.Worker", f"{OURS}.Trunk"},
    "lm-0": {f"{OURS}.Lm", f"{OURS}.Worker", f"{OURS}.Trunk"},
}
PACKET = {"audio": {"data": base64.b64encode(b"\xff" * 800).decode()}}  # mu-law silence of 100 ms
CALL = [{"start": {"input_format": {"encoding": "ENCODING_MULAW", "sample_rate_hz": 8000}}}, PACKET, PACKET]
NO_FORMAT: list[dict[str, Any]] = [{"start": {}}]


def grpcurl(*arguments: str, messages: list[dict[str, Any]] | None = None) -> subprocess.CompletedProcess[str]:
    stdin = "\n".join(map(json.dumps, messages or []))
    command = ["grpcurl", "-plaintext", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def converse(cluster: LocalCluster, messages: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    return grpcurl("-d", "@", cluster.address(), f"{OURS}.Gateway/Converse", messages=messages)


def values(text: str) -> Iterator[dict[str, Any]]:
    """JSON texts, one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        yield value
        at += len(text[at:]) - len(text[at:].lstrip())


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_listed_and_described(cluster: LocalCluster, name: str) -> None:
    listed = grpcurl(cluster.address(name), "list")
    assert set(listed.stdout.split()) == EVERYWHERE | SERVICES[name], listed.stderr
    described = grpcurl(cluster.address(name), "describe")
    assert described.returncode == 0, described.stderr
    assert all(f"{service} is a service" in described.stdout for service in EVERYWHERE | SERVICES[name])


@pytest.mark.parametrize(
    ("name", "symbol", "kind"),
    [
        ("gateway-0", f"{OURS}.Gateway.Converse", "a method"),
        ("codec-0", f"{OURS}.Codec.Encode", "a method"),
        ("lm-0", f"{OURS}.Lm.Generate", "a method"),
        ("gateway-0", f"{OURS}.Start.loopback", "a field"),
        ("gateway-0", f"{OURS}.ConverseRequest.message", "a one-of"),
        ("gateway-0", f"{OURS}.Encoding.ENCODING_MULAW", "an enum value"),
        ("gateway-0", "google.rpc.RetryInfo", "a message"),
    ],
)
def test_any_symbol_is_described(cluster: LocalCluster, name: str, symbol: str, kind: str) -> None:
    described = grpcurl(cluster.address(name), "describe", symbol)
    assert f"{symbol} is {kind}" in described.stdout, described.stderr


def test_a_call_is_answered_frame_by_frame(cluster: LocalCluster) -> None:
    called = converse(cluster, CALL)
    assert called.returncode == 0, called.stderr
    messages = list(values(called.stdout))
    assert "started" in messages[0]
    assert messages[-1]["ended"]["reason"] == "REASON_HANGUP"
    assert messages[-1]["ended"]["counters"]["frames_out"] == "3"  # 200 ms: two frames and a half


def test_a_start_without_a_format_is_refused_with_the_fields_name(cluster: LocalCluster) -> None:
    called = converse(cluster, NO_FORMAT)
    assert called.returncode != 0
    assert "InvalidArgument" in called.stderr
    assert "input_format" in called.stderr
