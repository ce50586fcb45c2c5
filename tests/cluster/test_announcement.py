"""What people and programs are told about where a cluster is."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from moshi_cluster.cluster import process
from moshi_cluster.cluster.announcement import for_people, for_programs
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster

TUNNEL = {"MOSHI_GATEWAY_GRADIO_TUNNEL": "true"}


def cluster(folder: Path, environment: Mapping[str, str], checkpoint: str = str(DEFAULT_CHECKPOINT)) -> LocalCluster:
    """One that is planned, not started."""
    ports = {"MOSHI_GATEWAY_HTTP_PORT": "8998", "MOSHI_GATEWAY_PORT": "50051"}
    return LocalCluster(Layout(checkpoint), ports | environment, folder)


def test_a_cluster_of_this_machine_says_how_to_open_it(tmp_path: Path) -> None:
    told = for_people(cluster(tmp_path, {"MOSHI_LM_DEVICE": "cuda"}))
    assert "the demo model on cuda" in told
    assert "http://localhost:8998" in told
    assert "localhost:50051" in told
    assert "--host 0.0.0.0 lets others in" in told


def test_an_open_cluster_has_this_machines_name_and_says_what_browsers_need(tmp_path: Path) -> None:
    told = for_people(cluster(tmp_path, {"MOSHI_GATEWAY_HOST": "0.0.0.0"}, "kyutai/moshiko-pytorch-bf16"))
    assert "kyutai/moshiko-pytorch-bf16 on cpu" in told
    assert f"http://{socket.gethostname()}:8998" in told
    assert "--tls-dir" in told
    assert "MOSHI_GATEWAY_TOKEN_FILE" in told


def test_with_tls_and_tokens_there_is_nothing_to_hint_at(tmp_path: Path) -> None:
    closed = {"MOSHI_GATEWAY_TLS_DIR": "tls", "MOSHI_GATEWAY_GRPC_TLS": "true", "MOSHI_GATEWAY_TOKEN_FILE": "tokens"}
    told = for_people(cluster(tmp_path, closed | {"MOSHI_GATEWAY_HOST": "192.0.2.1"}))
    assert "https://192.0.2.1:8998" in told
    assert "192.0.2.1:50051 (TLS)" in told
    assert "--tls-dir" not in told
    assert "TOKEN_FILE" not in told


def test_without_the_http_port_there_is_no_page(tmp_path: Path) -> None:
    assert "page" not in for_people(cluster(tmp_path, {"MOSHI_GATEWAY_HTTP": "false"}))


def test_the_public_address_is_what_the_gateway_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "2026-01-01 INFO gateway http public address=https://x.example; relayed, which may cost half a second\n"
    # The gateway writes it a moment after it serves.
    monkeypatch.setattr(process.time, "sleep", lambda _s: (tmp_path / "gateway-0.log").write_text(line))
    assert "https://x.example (public)" in for_people(cluster(tmp_path, TUNNEL))


def test_a_public_address_that_is_not_logged_is_not_waited_for(tmp_path: Path) -> None:
    assert "(public)" not in for_people(cluster(tmp_path, TUNNEL | {"MOSHI_GATEWAY_LOG_LEVEL": "warning"}))


def test_programs_read_json(tmp_path: Path) -> None:
    addresses = json.loads(for_programs(cluster(tmp_path, {})))
    assert addresses == {"http": "http://127.0.0.1:8998/", "grpc": "127.0.0.1:50051"}
