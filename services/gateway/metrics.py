"""Metrics of the gateway; nothing else in it knows Prometheus."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moshi_cluster.services.common.metrics import LATENCY_BUCKETS_S

HOPS = ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround")
SERVICES = ("codec", "lm")
MOVE_REASONS = ("draining", "hung", "lost")
MOVE_OUTCOMES = ("moved", "differs", "given_up")
FRAME_KINDS = ("in", "out", "filled", "dropped", "late", "reply_dropped")


def exemplar_of(session_id: str) -> dict[str, str]:
    """What leads from a bucket or a counter to a call in the log; shown where OpenMetrics is asked for."""
    return {"session_id": session_id}


class GatewayMetrics:
    """Every metric of the gateway, labels resolved once, so that a frame costs no look-up."""

    def __init__(self, registry: CollectorRegistry) -> None:
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
        self.calls_active = Gauge("moshi_gateway_calls_active", "Calls that are up.", registry=registry)
        self.waiting = Gauge("moshi_gateway_waiting", "Clients that wait for a call to end.", registry=registry)
        self._sessions = Counter(
            "moshi_gateway_sessions", "Calls that ended, by how they ended.", ("outcome",), registry=registry
        )
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
        self._add_workers(registry)
        self._add_http_port(registry)
        self._add_store(registry)
        self._add_wires(registry)
        self._resumptions = Counter(
            "moshi_gateway_resumptions",
            "Callers who came back for a conversation, by where it was found, or why it could not go on.",
            ("outcome",),
            registry=registry,
        )

    def _add_workers(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge(
            "moshi_gateway_workers", "Workers that take sessions, full ones included.", ("service",), registry=registry
        )
        self.workers_unfit = Gauge(
            "moshi_gateway_workers_unfit",
            "Workers within reach that fit none of the other service: no call is placed on them.",
            ("service",),
            registry=registry,
        )
        self.worker_checkpoints = Gauge(
            "moshi_gateway_worker_checkpoints",
            "Different checkpoints that the workers within reach have loaded.",
            ("service",),
            registry=registry,
        )
        self._moves = Counter(
            "moshi_gateway_failovers",
            "Times that a call's streams had to leave their worker. outcome: moved, differs (moved, to another answer),"
            " given_up.",
            ("service", "reason", "outcome"),
            registry=registry,
        )
        move_gap_s = Histogram(
            "moshi_gateway_move_gap_seconds",
            "What the first answer of the other worker was late by, when a call's streams had moved.",
            ("service",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.move_gap_s = {service: move_gap_s.labels(service) for service in SERVICES}
        for labels in itertools.product(SERVICES, MOVE_REASONS, MOVE_OUTCOMES):
            self._moves.labels(*labels)
        self._checkpoint_workers = Gauge(
            "moshi_gateway_checkpoint_workers",
            "Workers within reach by what they have loaded; what none has any more is not shown.",
            ("service", "checkpoint"),
            registry=registry,
        )
        self._shown_checkpoints: set[tuple[str, str]] = set()
        self._rejections = Counter(
            "moshi_gateway_worker_rejections",
            "Calls for which the workers had no slot, by the status they ended with.",
            ("status",),
            registry=registry,
        )

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

    def _add_store(self, registry: CollectorRegistry) -> None:
        self.store_up = Gauge(
            "moshi_gateway_store_up", "Whether the session store did what it was asked last.", registry=registry
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

    def _add_wires(self, registry: CollectorRegistry) -> None:
        self._wire_calls = Counter(
            "moshi_gateway_wire_calls",
            "Calls of telephone systems that ended, by the wire they came over and how they ended.",
            ("transport", "outcome"),
            registry=registry,
        )
        self._wire_packets = Counter(
            "moshi_gateway_wire_packets",
            "Packets of voice of telephone systems: received, sent, lost, filled (silence for lost ones), reordered,"
            " repeated, late (lost, and came after all); unknown: messages of no known kind.",
            ("transport", "kind"),
            registry=registry,
        )

    def wire_over(self, transport: str, outcome: str, packets: Mapping[str, int]) -> None:
        """Counts a call of a telephone system that ended, and its packets by kind."""
        self._wire_calls.labels(transport, outcome).inc()
        for kind, count in packets.items():
            self._wire_packets.labels(transport, kind).inc(count)

    def stored(self, outcome: str, steps: int = 1) -> None:
        """Counts steps on records: done, missing, taken, failed, dropped, damaged."""
        self._store_steps.labels(outcome).inc(steps)

    def ended(self, outcome: str, session_id: str) -> None:
        """Counts a call that ended; outcome: ok, shutdown or the gRPC status."""
        self._sessions.labels(outcome).inc(exemplar=exemplar_of(session_id))

    def observe_checkpoints(self, workers: Mapping[tuple[str, str], int]) -> None:
        """Takes how many workers there are by service and checkpoint."""
        for loaded, count in workers.items():
            self._checkpoint_workers.labels(*loaded).set(count)
        for gone in self._shown_checkpoints - workers.keys():
            self._checkpoint_workers.remove(*gone)
        self._shown_checkpoints = set(workers)

    def rejected(self, status: str) -> None:
        """Counts a call that got no slot."""
        self._rejections.labels(status).inc()

    def resumed(self, outcome: str) -> None:
        """Counts a caller who came back: memory, or the reason of the contract in lower case."""
        self._resumptions.labels(outcome).inc()

    def moved(self, service: str, reason: str, outcome: str) -> None:
        """Counts streams that had to leave their worker, by what became of them."""
        self._moves.labels(service, reason, outcome).inc()

    def digit(self, is_key: bool) -> None:
        """Counts a key press, or one of what is no key."""
        (self._digits if is_key else self._ignored_digits).inc()

    def http_refused(self, reason: str) -> None:
        """Counts a connection that was refused: connections, client, descriptors, origin, proxy or openings."""
        self._http_refused.labels(reason).inc()

    def bad_request(self) -> None:
        """Counts a request that could not be read."""
        self._bad_requests.inc()

    def wrong_token(self) -> None:
        """Counts a token that is not known."""
        self._wrong_tokens.inc()

    def unheard(self, reason: str) -> None:
        """Counts a client of /api/chat of whom something cannot be heard: format or stream."""
        self._unheard.labels(reason).inc()
