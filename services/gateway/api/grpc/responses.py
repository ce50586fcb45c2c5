"""What leaves a call, as the public contract has it."""

from __future__ import annotations

from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, TextPiece
from moshi_cluster.services.gateway.calls.outgoing import Ended, Outgoing, Started
from moshi_cluster.v1 import gateway_pb2


def render(item: Outgoing) -> gateway_pb2.ConverseResponse:
    """One item as a message."""
    if isinstance(item, ReplyPacket):
        return gateway_pb2.ConverseResponse(
            audio=gateway_pb2.ReplyAudio(data=item.data, first_sample=item.first_sample)
        )
    if isinstance(item, TextPiece):
        return gateway_pb2.ConverseResponse(text=gateway_pb2.Text(piece=item.piece, frame_index=item.frame_index))
    if isinstance(item, CallEvent):
        return gateway_pb2.ConverseResponse(event=_event(item))
    if isinstance(item, Started):
        return gateway_pb2.ConverseResponse(started=_started(item))
    return gateway_pb2.ConverseResponse(ended=_ended(item))


def _event(item: CallEvent) -> gateway_pb2.Event:
    event = gateway_pb2.Event(
        kind=gateway_pb2.Event.Kind.Name(int(item.kind)),
        frame_index=item.frame_index,
        frames=item.frames,
        detail=item.detail,
    )
    if item.counters is not None:
        event.counters.CopyFrom(item.counters.message())
    if item.hops_s is not None:
        event.hops.CopyFrom(gateway_pb2.HopMedians(**{f"{hop}_us": round(s * 1e6) for hop, s in item.hops_s.items()}))
    return event


def _started(item: Started) -> gateway_pb2.Started:
    spec = item.spec
    output = gateway_pb2.AudioFormat(
        encoding=gateway_pb2.Encoding.Name(spec.output_format.encoding), sample_rate_hz=spec.output_format.rate_hz
    )
    return gateway_pb2.Started(
        session_id=item.session_id,
        output_format=output,
        reply_packet_ms=spec.reply_packet_ms,
        seed=spec.sampling.seed,
        setup_us=round(item.setup_s * 1e6),
    )


def _ended(item: Ended) -> gateway_pb2.Ended:
    reason = gateway_pb2.Ended.REASON_SHUTDOWN if item.cut_short else gateway_pb2.Ended.REASON_HANGUP
    return gateway_pb2.Ended(reason=reason, counters=item.counters.message())
