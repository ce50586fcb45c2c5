"""Telephony: the wires of telephone systems in front of the call manager, beside gRPC and /api/chat.

    connection -> link -> wire.parse -> WireConnection -> Call
    Call -> WireConnection -> wire.audio, wire.event -> link -> connection

A *wire* is what one system speaks: a class that turns its messages into what a call understands, and back. It does no
I/O, has no clock and knows no call, so it is tested with bytes alone. One driver, `WireConnection`, does everything
else for all of them: deadlines, quotas, bounds, pacing, order, counts, how a call ends. A *link* is the kind of
connection below, a WebSocket or a TCP stream.

A new wire is one file here with a class that derives from `wire.Wire`, a line in `wires.py`, a simulator in
tests/services/gateway/api/telephony/simulators, and its part of docs/telephony.md:

- `parse` takes a message (of a TCP stream: bytes cut anywhere) and returns what it says, in order: `Opening` once, as
  soon as the wire says that a call begins and how it sounds; `Voice`, `Key`, `Played`; `Answer` for what the wire
  wants answered at once; `Control` for the rest. Raises InvalidInput naming the field. What it keeps is bounded.
- `started`, `audio`, `event`, `end` return the messages to send. Audio comes in packets of `Opening.packet_ms`, paced
  by the call if `Opening.paced`.
- `mark` returns a message that the far end answers, as `Played`, once it has played what came before; () where the
  wire knows no such thing.
- `transfer`, `send_digits` return the wire's command. Without one they raise Unsupported.
"""
