"""One service as a process, before and while it lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from moshi_cluster.cluster.process import ServiceProcess
from moshi_cluster.services.common.settings import SettingError


def process(folder: Path, service: str, **settings: str) -> ServiceProcess:
    variables = {f"MOSHI_{service.upper()}_{name.upper()}": value for name, value in settings.items()}
    return ServiceProcess(f"{service}-0", service, {**os.environ, **variables}, folder / "log")


@pytest.mark.parametrize(
    ("host", "seen"), [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("192.0.2.1", "192.0.2.1")]
)
def test_this_machine_finds_a_server_wherever_it_listens(host: str, seen: str, tmp_path: Path) -> None:
    gateway = process(tmp_path, "gateway", host=host, port="1", metrics_port="2", http_port="3", tls_dir="tls")
    assert (gateway.address, gateway.metrics_url, gateway.http_url) == (
        f"{seen}:1",
        f"http://{seen}:2/metrics",
        f"https://{seen}:3/",
    )


def test_a_setting_that_the_service_would_refuse_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="MOSHI_LM_CONTEXTS: no such setting"):
        process(tmp_path, "lm", contexts="50")


def test_a_port_that_is_taken_is_named_with_its_variable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = process(tmp_path, "gateway", host="127.0.0.1", port="0", metrics_port="0", http_port=str(port))
        with pytest.raises(SettingError, match=rf"MOSHI_GATEWAY_HTTP_PORT: .* 127\.0\.0\.1:{port}: the port is taken"):
            gateway.check_ports()


def test_loading_lines_are_those_of_the_models(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2026 INFO lm settings loading=1\nloading the LM from x: 3 of 9 MB\n")
    assert process(tmp_path, "lm").loading_lines() == ["loading the LM from x: 3 of 9 MB"]


def test_a_process_that_was_never_started_is_neither_running_nor_missed(tmp_path: Path) -> None:
    codec = process(tmp_path, "codec")
    codec.check()
    assert not codec.running
    assert codec.log_tail() == ""
