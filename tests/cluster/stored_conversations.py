"""Conversations whose frames are read from the session store: what was said, and what an undisturbed session says."""

from __future__ import annotations

import asyncio
import base64

import grpc
from redis import Redis

from moshi_cluster.services.gateway.calls.stored import conversation_of
from moshi_cluster.services.gateway.store.record import open_record
from moshi_cluster.services.gateway.store.sealing import Seal, name_of
from moshi_cluster.v1 import common_pb2, gateway_pb2, gateway_pb2_grpc, lm_pb2, lm_pb2_grpc
from tests.cluster.callers import FRAME_S, PATIENCE_S, Line, speech, start, until
from tests.services.gateway.store.redis_server import KEY, RedisServer

LINE = Line("s16le", 24_000)
SAMPLING = common_pb2.Sampling(text_temperature=0.7, audio_temperature=0.8, seed=11)
NOBODY = common_pb2.Persona()
_PACKETS_PER_FRAME = 4


class Talker:
    """A caller who speaks in real time, keeps what they hear and counts its frames and moves."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = gateway_pb2_grpc.GatewayStub(channel).Converse()
        self.started = gateway_pb2.Started()
        self.heard, self.words = b"", ""
        self.heard_frames = 0
        self.moves = 0

    async def begin(self, **fields: object) -> None:
        await self.call.write(gateway_pb2.ConverseRequest(start=start(LINE, sampling=SAMPLING, **fields)))
        async with asyncio.timeout(PATIENCE_S):
            self.started = (await self.call.read()).started
        assert self.started.resume_token

    async def talk(self, frames: int, offset_s: float = 0.0) -> None:
        """Says so many frames and hears as many."""
        for packet in speech(LINE, frames * FRAME_S, offset_s):
            await self.call.write(gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=packet)))
            await asyncio.sleep(FRAME_S / _PACKETS_PER_FRAME)
        expected = self.heard_frames + frames
        async with asyncio.timeout(PATIENCE_S):
            while self.heard_frames < expected:
                assert await self._hear()

    async def until_over(self) -> None:
        """Hears the rest."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._hear():
                pass

    async def _hear(self) -> bool:
        if (message := await self.call.read()) is grpc.aio.EOF:
            return False
        self.heard += message.audio.data
        self.words += message.text.piece
        self.heard_frames += message.HasField("audio")
        self.moves += message.event.kind == gateway_pb2.Event.KIND_MOVED
        return True


async def stored(redis: RedisServer, token: str, frames: int) -> list[lm_pb2.HistoryFrame]:
    """The frames of a conversation in the store, once it has so many."""
    with Redis.from_url(redis.url) as client:
        record: list[list[lm_pb2.HistoryFrame]] = []

        async def has_them() -> bool:
            if not (fields := client.hgetall(f"moshi-cluster:conversation:{name_of(token)}")):
                return False
            opened = open_record(Seal(base64.b64decode(KEY), token), fields)  # type: ignore[arg-type]
            record[:] = [conversation_of(opened, token, None).history.last()[1]]
            return opened.total_frames >= frames

        await until(has_them)
    return record[0]


async def answers(
    target: str,
    history: list[lm_pb2.HistoryFrame],
    said: list[lm_pb2.HistoryFrame],
    persona: common_pb2.Persona = NOBODY,
) -> list[tuple[int, ...]]:
    """What an undisturbed session of the lm says that goes on from a history."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = lm_pb2_grpc.LmStub(channel).Generate()
        opening = lm_pb2.GenerateRequest.Open(sampling=SAMPLING, history=history, persona=persona)
        await call.write(lm_pb2.GenerateRequest(open=opening))
        prompt_frames = (await call.read()).opened.prefilled_frames - len(history)
        assert prompt_frames > 0 if persona != NOBODY else prompt_frames == 0
        tokens = []
        for index, frame in enumerate(said):
            user = lm_pb2.GenerateRequest.UserFrame(codes=frame.user_codes, frame_index=index)
            await call.write(lm_pb2.GenerateRequest(frame=user))
            async with asyncio.timeout(PATIENCE_S):
                reply = (await call.read()).frame
            tokens.append((reply.text_token, *reply.moshi_codes))
        call.cancel()
    return tokens
