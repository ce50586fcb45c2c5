"""Metrics of the gateway; nothing else in it knows Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moshi_cluster.services.common.errors import STATUSES
from moshi_cluster.services.common.metrics import LATENCY_BUCKETS_S, initialise
from moshi_cluster.services.gateway.metrics.of_workers import WorkerMetrics

HOPS = ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround")
FRAME_KINDS = ("in", "out", "filled", "dropped", "late", "reply_dropped")
TRANSPORTS = ("grpc", "websocket")
"""What a call comes in over, beside the wires of telephone systems."""
PACKET_KINDS = ("received", "sent", "lost", "filled", "reordered", "repeated", "late", "left_out", "unknown")
CUT_SHORT = "shutdown"
"""The outcome of a call that the gateway's stop has ended, beside `ok` and the gRPC statuses."""
OUTCOMES = ("ok", CUT_SHORT, *STATUSES)
HttpRefusal = Literal["connections", "client", "descriptors", "origin", "proxy", "openings", "telephony"]
StoreOutcome = Literal["done", "missing", "taken", "failed", "dropped", "damaged"]
Unheard = Literal["format", "stream"]
_RESUMPTIONS = ("memory", "store", "conversation_unknown", "conversation_taken", "model_gone", "store_away")
_CALL_BUCKETS_S = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200)


def exemplar_of(session_id: str) -> dict[str, str]:
    """What leads from a bucket or a counter to a call in the log; shown where OpenMetrics is asked for."""
    return {"session_id": session_id}


class GatewayMetrics(WorkerMetrics):
    """Every metric of the gateway, labels resolved once, so that a frame costs no look-up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        hop_s = Histogram(
            "moshi_gateway_hop_seconds",
            "Time of one frame on one hop. turnaround: user frame complete to its reply handed to the caller's stream.",
            ("hop",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.hop_s = {hop: hop_s.labels(hop) for hop in HOPS}
        frames = Counter(
            "moshi_gateway_frames",
            "Frames of 80 ms: from callers, answered, filled in for silent callers, dropped, answered late.",
            ("kind",),
            registry=registry,
        )
        self.frames = {kind: frames.labels(kind) for kind in FRAME_KINDS}
        self.backlog_frames = Histogram(
            "moshi_gateway_backlog_frames",
            "Frames of a call that waited when a frame was sent on.",
            buckets=(0, 1, 2, 3, 4, 6, 8, 12, 16, 32),
            registry=registry,
        )
        self.setup_s = Histogram(
            "moshi_gateway_setup_seconds",
            "From a call's start message to its started message.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._digits = Counter("moshi_gateway_dtmf", "Keys pressed by callers.", registry=registry)
        self._ignored_digits = Counter(
            "moshi_gateway_dtmf_ignored", "Presses of what is no key of a phone, passed over.", registry=registry
        )
        self._add_calls(registry)
        self._add_http_port(registry)
        self._add_store(registry)
        self._add_wires(registry)

    def _add_calls(self, registry: CollectorRegistry) -> None:
        self.calls_active = Gauge("moshi_gateway_calls_active", "Calls that are up.", registry=registry)
        self.waiting = Gauge("moshi_gateway_waiting", "Clients that wait for a call to end.", registry=registry)
        self._sessions = Counter(
            "moshi_gateway_sessions",
            "Calls that ended, by how they ended and what they came in over.",
            ("outcome", "transport"),
            registry=registry,
        )
        initialise(self._sessions, OUTCOMES, TRANSPORTS)
        self._call_s = Histogram(
            "moshi_gateway_call_seconds",
            "Length of calls that were up, from `started` to their end.",
            ("transport",),
            buckets=_CALL_BUCKETS_S,
            registry=registry,
        )
        initialise(self._call_s, TRANSPORTS)
        self.free_slots = Gauge(
            "moshi_gateway_free_slots",
            "Calls that could begin now: the gateway's own places and the workers' slots, whichever are fewer.",
            registry=registry,
        )
        self._resumptions = Counter(
            "moshi_gateway_resumptions",
            "Callers who came back for a conversation, by where it was found, or why it could not go on.",
            ("outcome",),
            registry=registry,
        )
        initialise(self._resumptions, _RESUMPTIONS)

    def _add_http_port(self, registry: CollectorRegistry) -> None:
        self.http_connections = Gauge(
            "moshi_gateway_http_connections", "Connections to the HTTP port that are open.", registry=registry
        )
        self._http_refused = Counter(
            "moshi_gateway_http_refused",
            "Connections to the HTTP port that were closed at once: too many in all, of one client, or of descriptors.",
            ("reason",),
            registry=registry,
        )
        initialise(self._http_refused, get_args(HttpRefusal))
        self._bad_requests = Counter("moshi_gateway_bad_requests", "Requests that are no HTTP.", registry=registry)
        self._wrong_tokens = Counter(
            "moshi_gateway_wrong_tokens", "Tokens shown that are not known, over either transport.", registry=registry
        )
        self._unheard = Counter(
            "moshi_gateway_unheard",
            "Clients of /api/chat of whom something cannot be heard: another format, a second stream.",
            ("reason",),
            registry=registry,
        )
        initialise(self._unheard, get_args(Unheard))

    def _add_store(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.store_up = Gauge(
            "moshi_gateway_store_up", "Whether the session store did what it was asked last.", registry=None
        )
        self.store_waiting = Gauge(
            "moshi_gateway_store_waiting",
            "Conversations whose turn to be stored is past.",
            registry=registry,
        )
        self.store_s = Histogram(
            "moshi_gateway_store_seconds",
            "Time of one round trip to the session store, in the background.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._store_steps = Counter(
            "moshi_gateway_store_steps",
            "Steps on records of the session store, by how they went.",
            ("outcome",),
            registry=registry,
        )
        initialise(self._store_steps, get_args(StoreOutcome))

    def _add_wires(self, registry: CollectorRegistry) -> None:
        self._wire_packets = Counter(
            "moshi_gateway_wire_packets",
            "Packets of voice of telephone systems: received, sent, lost, filled (silence for lost ones), reordered,"
            " repeated, late (lost, and came after all), left_out (the far end holds too many); unknown: messages of no"
            " known kind.",
            ("transport", "kind"),
            registry=registry,
        )

    def has_wire(self, transport: str) -> None:
        """Calls may come over a wire of telephone systems, too. transport: its name."""
        initialise(self._sessions, OUTCOMES, (transport,))
        initialise(self._call_s, (transport,))
        initialise(self._wire_packets, (transport,), PACKET_KINDS)

    def wire_over(self, transport: str, packets: Mapping[str, int]) -> None:
        """Counts the packets of a telephone system's call that ended, by their kind."""
        for kind, count in packets.items():
            self._wire_packets.labels(transport, kind).inc(count)

    def has_store(self) -> None:
        """There is a session store: without one nothing is said of whether it is up."""
        self._registry.register(self.store_up)

    def stored(self, outcome: StoreOutcome, steps: int = 1) -> None:
        """Counts steps on records: done, missing, taken, failed, dropped, damaged."""
        self._store_steps.labels(outcome).inc(steps)

    def ended(self, outcome: str, transport: str, session_id: str, length_s: float | None) -> None:
        """Counts a call that ended; outcome: of OUTCOMES. length_s: None for a call that was never up."""
        self._sessions.labels(outcome, transport).inc(exemplar=exemplar_of(session_id))
        if length_s is not None:
            self._call_s.labels(transport).observe(length_s, exemplar_of(session_id))

    def resumed(self, outcome: str) -> None:
        """Counts a caller who came back: memory, or the reason of the contract in lower case."""
        self._resumptions.labels(outcome).inc()

    def digit(self, is_key: bool) -> None:
        """Counts a key press, or one of what is no key."""
        (self._digits if is_key else self._ignored_digits).inc()

    def http_refused(self, reason: HttpRefusal) -> None:
        """Counts a connection that was refused."""
        self._http_refused.labels(reason).inc()

    def bad_request(self) -> None:
        """Counts a request that could not be read."""
        self._bad_requests.inc()

    def wrong_token(self) -> None:
        """Counts a token that is not known."""
        self._wrong_tokens.inc()

    def unheard(self, reason: Unheard) -> None:
        """Counts a client of /api/chat of whom something cannot be heard: format or stream."""
        self._unheard.labels(reason).inc()
