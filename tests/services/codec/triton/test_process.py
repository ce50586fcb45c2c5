"""The codec's own process with the backend triton: what it imports, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

pytest.importorskip("tritonclient", reason="no tritonclient: pip install '.[triton]'")

from moshi_cluster.cluster.ports import free_ports
from moshi_cluster.services.common.probe import is_serving
from moshi_cluster.v1 import codec_pb2_grpc
from tests.services.codec.triton.fake_triton import FakeTriton, listening
from tests.services.fake_workers import pcm_frame
from tests.services.in_process import PATIENCE_S, read_all

ROOT = Path(__file__).parents[4]
PROGRAM = """
import os, runpy, sys
os._exit = sys.exit  # where threads are left, which would say nothing
try:
    runpy.run_module("moshi_cluster.services.codec", run_name="__main__")
finally:
    print("imported:", *sorted(name for name in sys.modules if name in ("torch", "safetensors", "huggingface_hub")))
"""


def start(**settings: str) -> subprocess.Popen[str]:
    """The service as a process, which says in the end which of the large packages it has imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MOSHI_")}
    variables = {f"MOSHI_CODEC_{name}": value for name, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=inherited | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def until_serving(address: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(is_serving, address, 1.0):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_the_process_never_imports_torch() -> None:
    (port,) = free_ports(1)
    async with listening(FakeTriton()) as (_, triton_port):
        process = start(
            BACKEND="triton", TRITON_URL=f"127.0.0.1:{triton_port}", HOST="127.0.0.1", PORT=str(port), METRICS_PORT="0"
        )
        try:
            await until_serving(f"127.0.0.1:{port}")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                assert len(await read_all(codec_pb2_grpc.CodecStub(channel).Encode([pcm_frame(0), pcm_frame(1)]))) == 2
            process.send_signal(signal.SIGTERM)
            output, log = await asyncio.to_thread(process.communicate, None, PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert output.splitlines()[-1].strip() == "imported:", output


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"BACKEND": "triton"}, "MOSHI_CODEC_TRITON_URL: expected host:port"),
        ({"BACKEND": "triton", "TRITON_URL": "localhost"}, "MOSHI_CODEC_TRITON_URL: expected host:port"),
        ({"BACKEND": "tritan"}, "MOSHI_CODEC_BACKEND: 'tritan' is none of torch, triton"),
        ({"TRITON_URL": "localhost:8001"}, "MOSHI_CODEC_TRITON_URL: needs the backend triton"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, str], message: str) -> None:
    process = start(PORT="0", METRICS_PORT="0", **settings)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, log
    assert message in log
