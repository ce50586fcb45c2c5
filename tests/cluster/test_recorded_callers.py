"""The recordings of the repository."""

from __future__ import annotations

from moshi_cluster.cluster.recorded_callers import read


def test_they_hold_at_least_twenty_exchanges() -> None:
    found = read()
    assert sum(recording.exchanges for recording in found) >= 20
    assert all(len(recording.mu_law) > 8000 * recording.turns[-1]["user_end_s"] for recording in found)


def test_packets_are_the_recording_in_pieces() -> None:
    recording = read()[0]
    packets = recording.packets(20)
    assert b"".join(packets) == recording.mu_law
    assert {len(packet) for packet in packets} == {160}
