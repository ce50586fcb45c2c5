"""Phone over gRPC, to compare the others with: mu-law, packets of 20 ms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from moshi_cluster.audio import g711
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.clients.telephony import Call
from moshi_cluster.v1 import common_pb2, gateway_pb2
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone


class GrpcPhone(Phone):
    """A telephone system that speaks the public contract; `Gateway.ports` has where."""

    wire = "grpc"

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        """Returns once the call is up, or refused: then closing says why."""
        start = gateway_pb2.Start(
            input_format=gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW),
            sampling=common_pb2.Sampling(seed=int(parameters["seed"])),
            call_label=parameters["label"],
        )
        self._call = Call(f"127.0.0.1:{gateway.ports['grpc']}", start)
        self._answered = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())
        await self._answered.wait()

    async def say(self, samples: Samples) -> None:
        """A packet in a message."""
        await self._call.say(g711.encode_mulaw(samples))

    async def press(self, digit: str) -> None:
        """A control."""
        await self._call.control(gateway_pb2.Control(dtmf=gateway_pb2.Control.Dtmf(digit=digit)))

    async def hang_up(self) -> None:
        """Half-closes."""
        await self._call.hang_up()

    async def close(self) -> None:
        """Raises CallError where the call did not end well."""
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening

    async def transmit(self, message: str | bytes) -> None:
        """Nothing goes this way here."""
        raise NotImplementedError

    async def _listen(self) -> None:
        try:
            async with self._call:
                async for event in self._call:
                    self._answered.set()
                    if isinstance(event, gateway_pb2.ReplyAudio):
                        self.hear(g711.decode_mulaw(event.data))
        finally:
            self._answered.set()
            self.over.set()
