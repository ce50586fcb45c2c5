"""Responses of the public gRPC contract, from the items that leave a call."""

from __future__ import annotations

from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import CallEvent, Ended, Outgoing, Resume, Started, TextPiece
from moshi_cluster.v1 import gateway_pb2


def render(item: Outgoing) -> gateway_pb2.ConverseResponse:
    """An item as a message."""
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
        event.counters.CopyFrom(_counters(item.counters))
    if item.hops_s is not None:
        event.hops.CopyFrom(gateway_pb2.HopMedians(**{f"{hop}_us": round(s * 1e6) for hop, s in item.hops_s.items()}))
    return event


def _started(item: Started) -> gateway_pb2.Started:
    spec = item.spec
    output = gateway_pb2.AudioFormat(
        encoding=gateway_pb2.Encoding.Name(spec.output_format.encoding), sample_rate_hz=spec.output_format.rate_hz
    )
    started = gateway_pb2.Started(
        session_id=item.session_id,
        output_format=output,
        reply_packet_ms=spec.reply_packet_ms,
        seed=spec.sampling.seed,
        setup_us=round(item.setup_s * 1e6),
    )
    if item.resume is not None:
        _add_resume(started, item.resume)
    return started


def _add_resume(started: gateway_pb2.Started, resume: Resume) -> None:
    started.resume_token, started.resume_keep_s = resume.key, resume.keep_s
    if resume.remembered_frames is not None:
        left = gateway_pb2.Resumption(remembered_frames=resume.remembered_frames, lost_frames=resume.lost_frames)
        started.resumption.CopyFrom(left)


def _ended(item: Ended) -> gateway_pb2.Ended:
    reason = gateway_pb2.Ended.REASON_SHUTDOWN if item.cut_short else gateway_pb2.Ended.REASON_HANGUP
    return gateway_pb2.Ended(reason=reason, counters=_counters(item.counters))


def _counters(counters: CallCounters) -> gateway_pb2.Counters:
    return gateway_pb2.Counters(
        frames_in=counters.frames_in,
        frames_out=counters.frames_out,
        frames_filled=counters.frames_filled,
        frames_dropped=counters.frames_dropped,
        frames_late=counters.frames_late,
        reply_frames_dropped=counters.reply_frames_dropped,
        moves=counters.moves,
        backlog_frames_max=counters.backlog_frames_max,
        turnaround_p50_us=round(counters.turnaround.quantile_s(0.5) * 1e6),
        turnaround_p99_us=round(counters.turnaround.quantile_s(0.99) * 1e6),
        samples_in=counters.samples_in,
        samples_out=counters.samples_out,
    )
