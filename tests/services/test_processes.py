"""`python -m services.codec` and `services.lm` as an operator runs them: up, ready, down."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import urllib.request
from pathlib import Path
from typing import IO

import grpc

from moshi_cluster.cluster.ports import free_ports
from moshi_cluster.services.common import probe
from moshi_cluster.v1 import worker_pb2, worker_pb2_grpc
from tests.golden_set import golden_dir

_REPOSITORY = Path(__file__).parents[2]
_PATIENCE_S = 60.0


def golden_flags(name: str) -> list[str]:
    golden = golden_dir()
    config = f"--config={golden / 'lm_tiny/config.json'}"
    if name == "codec":
        mimi = golden / "mimi_tiny"
        return [config, f"--mimi-weights={mimi / 'mimi.safetensors'}", f"--mimi-config={mimi / 'mimi_config.json'}"]
    lm = golden / "lm_tiny"
    return [config, f"--lm-weights={lm / 'model.safetensors'}", f"--tokenizer={lm / 'tokenizer_spm_tiny_256.model'}"]


async def start(
    name: str, *flags: str, stderr: IO[bytes] | int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"services.{name}", "--host=127.0.0.1", "--port=0", "--metrics-port=0", *flags,
        cwd=_REPOSITORY, stderr=stderr,
    )  # fmt: skip


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """The first line of the log that contains the text."""
    assert process.stderr is not None
    async with asyncio.timeout(_PATIENCE_S):
        async for line in process.stderr:
            if text in line.decode():
                return line.decode()
    raise AssertionError(f"{text!r} was never logged")


async def test_workers_come_up_serve_and_leave_on_a_signal() -> None:
    async with asyncio.TaskGroup() as both:  # importing torch is most of it
        both.create_task(live("codec"))
        both.create_task(live("lm"))


async def live(name: str) -> None:
    """The whole life of one worker process."""
    process = await start(name, *golden_flags(name), "--slots=2")
    try:
        found = re.search(r" port=(\d+) .*metrics_port=(\d+)", await line_with(process, "listening"))
        assert found is not None
        target, metrics_url = f"127.0.0.1:{found[1]}", f"http://127.0.0.1:{found[2]}/metrics"
        await line_with(process, "serving")
        assert await asyncio.to_thread(probe.is_serving, target, _PATIENCE_S)
        async with grpc.aio.insecure_channel(target) as channel:
            watch = worker_pb2_grpc.WorkerStub(channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
            state = await watch.read()
            assert (state.service, state.slots_total) == (name, 2)
            assert re.fullmatch("[0-9a-f]{16}", state.checkpoint)
            watch.cancel()
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(metrics_url, timeout=_PATIENCE_S).read().decode())
        assert re.search(rf'^moshi_{name}_slots{{program="\w+"}} 2.0$', body, re.MULTILINE)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE_S):
            log, exit_code = await asyncio.gather(process.stderr.read(), process.wait())  # type: ignore[union-attr]
        assert exit_code == 0
        assert "Traceback" not in log.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_worker_whose_log_disk_is_full_loads_serves_and_leaves_on_a_signal() -> None:
    port, metrics_port = free_ports(2)
    flags = (*golden_flags("codec"), "--slots=2", f"--port={port}", f"--metrics-port={metrics_port}")
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230 - no file
        process = await start("codec", *flags, stderr=full)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not await asyncio.to_thread(probe.is_serving, f"127.0.0.1:{port}"):
                assert process.returncode is None
                await asyncio.sleep(0.1)
        metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(metrics_url, timeout=_PATIENCE_S).read().decode())
        assert re.search(r'^moshi_codec_log_lines_dropped_total{reason="failed"} [1-9]', body, re.MULTILINE)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_strangers_on_an_encrypted_port_write_nothing_into_the_log(tmp_path: Path) -> None:
    port, metrics_port, http_port = free_ports(3)
    process = await start(
        "gateway", f"--port={port}", f"--metrics-port={metrics_port}", f"--http-port={http_port}",
        f"--tls-dir={tmp_path}", "--tls-self-signed=true", "--grpc-tls=true",
    )  # fmt: skip
    try:
        await line_with(process, "listening name=gateway")
        for stranger in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01 no handshake" * 50) * 3:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(stranger)
            writer.write_eof()
            async with asyncio.timeout(_PATIENCE_S):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.close()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE_S):
            log, exit_code = await asyncio.gather(process.stderr.read(), process.wait())  # type: ignore[union-attr]
        assert exit_code == 0
        assert [line for line in log.decode().splitlines() if " gateway " not in line] == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
