"""The processes of a cluster start, die and stop as told, and none is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.process import ClusterError

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def checkpoint() -> str:
    return str(DEFAULT_CHECKPOINT)


def _exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_die_and_come_back_and_nothing_is_left(checkpoint: str) -> None:
    reports: list[str] = []
    cluster = LocalCluster(Layout(checkpoint), environment={"MOSHI_LM_CONTEXT": "50"})
    try:
        cluster.start()
        cluster.wait_until_serving(report=reports.append)
        assert cluster.names == ["codec-0", "lm-0", "gateway-0"]
        assert {line for line in reports if " serves at " in line} == {
            f"{name} serves at {cluster.address(name)}" for name in cluster.names
        }
        cluster.check()
        process_ids = [cluster.process_id(name) for name in cluster.names]

        assert cluster.process("lm-0").logged("serving name=lm"), "its log has it a moment later than its health"
        cluster.kill("lm-0")
        assert not cluster.running("lm-0")
        with pytest.raises(ClusterError, match=r"(?s)lm-0 ended with exit code -9:.*serving name=lm"):
            cluster.check()
        assert cluster.wait("lm-0", timeout_s=0) == -signal.SIGKILL
        assert cluster.terminate("codec-0") == 0
        cluster.start("lm-0", "codec-0")
        cluster.wait_until_serving()
        process_ids += [cluster.process_id(name) for name in ("lm-0", "codec-0")]
    finally:
        exit_codes = cluster.stop()
    assert exit_codes == {"gateway-0": 0, "lm-0": 0, "codec-0": 0}
    assert not any(_exists(process_id) for process_id in process_ids)
    assert not cluster.log_folder.exists()


def test_a_service_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    cluster = LocalCluster(Layout(checkpoint="/no/such/checkpoint"), log_folder=tmp_path)
    with pytest.raises(ClusterError, match=r"(?s)(codec|lm)-0 ended while starting:.*/no/such/checkpoint"), cluster:
        pytest.fail("a cluster without a checkpoint started")
    assert not any(cluster.running(name) for name in cluster.names)
    assert (tmp_path / "codec-0.log").exists()


def test_variables_of_this_process_do_not_reach_the_services(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOSHI_CODEC_DEVICE", "no-such-device")
    cluster = LocalCluster(Layout(checkpoint, lm_workers=0, gateways=0), log_folder=tmp_path)
    with cluster:
        assert cluster.names == ["codec-0"]


def test_every_process_has_ports_of_its_own(checkpoint: str, tmp_path: Path) -> None:
    cluster = LocalCluster(Layout(checkpoint, codec_workers=2, lm_workers=3), log_folder=tmp_path)
    places = [cluster.address(name) for name in cluster.names] + [cluster.metrics_url(name) for name in cluster.names]
    assert len(set(places)) == 12
    with pytest.raises(ClusterError, match="lm-2 was never started"):
        cluster.process_id("lm-2")
