"""What leaves a call, in the gateway's own terms; each transport has its spelling."""

from __future__ import annotations

from dataclasses import dataclass

from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import Event
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.v1 import common_pb2


@dataclass(frozen=True)
class Checkpoints:
    """Fingerprints of what the workers behind a call have loaded; empty for a loopback call."""

    codec: str = ""
    lm: str = ""


@dataclass(frozen=True)
class Started:
    """The first item: every slot is held, the model is ready for the first frame."""

    session_id: str
    spec: CallSpec
    setup_s: float  # from the caller's wish to now
    sampling: common_pb2.Sampling  # what is in use; empty for a loopback call
    checkpoints: Checkpoints


@dataclass(frozen=True)
class Ended:
    """The last item of a call that ended well."""

    cut_short: bool  # by the gateway's stop
    counters: CallCounters


Outgoing = Started | ReplyPacket | Event | Ended
