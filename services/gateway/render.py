"""What leaves a call, as the public contract has it."""

from __future__ import annotations

from moshi_cluster.v1 import gateway_pb2
from services.gateway.audio.framing import ReplyPacket
from services.gateway.notes import Note, TextPiece


def render(item: ReplyPacket | Note) -> gateway_pb2.ConverseResponse:
    """One item of `Call.outgoing` as a message."""
    if isinstance(item, ReplyPacket):
        return gateway_pb2.ConverseResponse(
            audio=gateway_pb2.ReplyAudio(data=item.data, first_sample=item.first_sample)
        )
    if isinstance(item, TextPiece):
        return gateway_pb2.ConverseResponse(text=gateway_pb2.Text(piece=item.piece, frame_index=item.frame_index))
    event = gateway_pb2.Event(
        kind=gateway_pb2.Event.Kind.Name(int(item.kind)),
        frame_index=item.frame_index,
        frames=item.frames,
        detail=item.detail,
    )
    if item.counters is not None:
        event.counters.CopyFrom(item.counters.message())
    return gateway_pb2.ConverseResponse(event=event)
