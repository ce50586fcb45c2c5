"""Phone over gRPC, to compare the others with: mu-law, packets of 20 ms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import grpc

from moshi_cluster.audio import g711
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.common.rpc import DIRECT
from moshi_cluster.v1 import common_pb2, gateway_pb2, gateway_pb2_grpc
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone


class GrpcPhone(Phone):
    """A telephone system that speaks the public contract; `Gateway.ports` has where."""

    wire = "grpc"

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        """One channel for the call."""
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{gateway.ports['grpc']}", DIRECT)
        self._call: Any = gateway_pb2_grpc.GatewayStub(self._channel).Converse()
        start = gateway_pb2.Start(
            input_format=gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW),
            sampling=common_pb2.Sampling(seed=int(parameters["seed"])),
            call_label=parameters["label"],
        )
        await self._call.write(gateway_pb2.ConverseRequest(start=start))
        self._reading = asyncio.create_task(self._read())

    async def say(self, samples: Samples) -> None:
        """A packet in a message."""
        audio = gateway_pb2.Audio(data=g711.encode_mulaw(samples))
        await self._call.write(gateway_pb2.ConverseRequest(audio=audio))

    async def press(self, digit: str) -> None:
        """A control."""
        dtmf = gateway_pb2.Control.Dtmf(digit=digit)
        await self._call.write(gateway_pb2.ConverseRequest(control=gateway_pb2.Control(dtmf=dtmf)))

    async def hang_up(self) -> None:
        """Half-closes."""
        await self._call.done_writing()

    async def close(self) -> None:
        """Raises AioRpcError where the call did not end well."""
        with contextlib.suppress(asyncio.CancelledError):
            self._call.cancel()
            await self._reading
        await self._channel.close()

    async def transmit(self, message: str | bytes) -> None:
        """Nothing goes this way here."""
        raise NotImplementedError

    async def _read(self) -> None:
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                if message.HasField("audio"):
                    self.hear(g711.decode_mulaw(message.audio.data))
        finally:
            self.over.set()
