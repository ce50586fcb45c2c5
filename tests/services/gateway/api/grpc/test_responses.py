"""Responses of the public gRPC contract: everything that leaves a call, whole and under its own name."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.gateway.api.grpc.responses import render
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import CallEvent, Ended, EventKind, TextPiece
from moshi_cluster.services.gateway.metrics import HOPS, GatewayMetrics
from moshi_cluster.v1 import gateway_pb2

Response = gateway_pb2.ConverseResponse


def test_the_kinds_of_events_are_those_of_the_contract() -> None:
    ours = {f"KIND_{kind.name}": kind.value for kind in EventKind}
    theirs = dict(gateway_pb2.Event.Kind.items())
    del theirs["KIND_UNSPECIFIED"]
    assert ours == theirs


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_is_rendered_with_all_that_it_says(kind: EventKind) -> None:
    rendered = render(CallEvent(kind, frame_index=7, frames=3, detail="so it was"))
    event = gateway_pb2.Event(kind=int(kind), frame_index=7, frames=3, detail="so it was")
    assert rendered == Response(event=event)


def counted() -> CallCounters:
    return CallCounters(GatewayMetrics(CollectorRegistry()))


def test_every_counter_has_its_own_field() -> None:
    counts = [field.name for field in gateway_pb2.Counters.DESCRIPTOR.fields if not field.name.startswith("turnaround")]
    counters = counted()
    for value, name in enumerate(counts, start=1):
        assert getattr(counters, name) == 0
        setattr(counters, name, value)
    for milliseconds in range(1, 101):
        counters.turnaround.add(milliseconds / 1000 - 0.0001)
    message = render(Ended(False, counters)).ended.counters
    assert [getattr(message, name) for name in counts] == list(range(1, len(counts) + 1))
    assert (message.turnaround_p50_us, message.turnaround_p99_us) == (50_000, 99_000)


def test_only_a_status_has_counters() -> None:
    counters = counted()
    for _ in range(5):
        counters.frame_in()
    assert render(CallEvent(EventKind.STATUS, 0, counters=counters)).event.counters.frames_in == 5
    assert not render(CallEvent(EventKind.FILLED, 0)).event.HasField("counters")


def test_a_status_says_how_long_the_hops_take_that_frames_passed() -> None:
    all_of_them = {hop: number / 1000 for number, hop in enumerate(HOPS)}
    hops = render(CallEvent(EventKind.STATUS, 0, hops_s=all_of_them)).event.hops
    assert [field.name for field, _ in hops.ListFields()] == [f"{hop}_us" for hop in HOPS]
    assert (hops.edge_in_us, hops.turnaround_us) == (0, 5000)
    assert not render(CallEvent(EventKind.STATUS, 0, hops_s={"lm": 0.01})).event.hops.HasField("encode_us")


def test_audio_is_rendered_with_its_place() -> None:
    packet = ReplyPacket(b"\x01\x02", first_sample=160, samples=1, frames_ended=0)
    assert render(packet) == Response(audio=gateway_pb2.ReplyAudio(data=b"\x01\x02", first_sample=160))


def test_text_is_rendered_with_its_frame() -> None:
    assert render(TextPiece(" né", 4)) == Response(text=gateway_pb2.Text(piece=" né", frame_index=4))
