"""Specification of a call: what its caller asked for, checked, whichever transport it came over."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat
from moshi_cluster.v1 import common_pb2

_FIRST_PACKET_S = 1.25
_SEED_BITS = 53
_MOST_LABEL_CHARACTERS = 128


@dataclass(frozen=True)
class Slo:
    """Limits beyond which a call is no longer real time; zero means not checked."""

    max_late_ratio: float = 0.0
    max_backlog_frames: int = 0


@dataclass(frozen=True)
class CallSpec:
    """Everything about a call that is fixed for its life."""

    input_format: AudioFormat
    output_format: AudioFormat
    reply_packet_ms: int
    jitter_allowance_s: float
    sampling: common_pb2.Sampling  # as the lm is asked: a seed always, of the rest what the caller named
    on_its_way_ms: int = 0  # reply audio that the transport itself bounds: the queue before it is that much shorter
    paced: bool = False
    slo: Slo = Slo()
    loopback: bool = False
    persona: common_pb2.Persona = field(default_factory=common_pb2.Persona)  # both fields empty: none
    label: str = ""

    @property
    def first_frame_allowance_s(self) -> float:
        """In place of jitter_allowance_s until the first frame: a recorder starts, and fills the longest packet."""
        return _FIRST_PACKET_S + self.jitter_allowance_s


def draw_seed() -> int:
    """A seed for a call that names none, below 2^53: JSON's clients read larger numbers rounded, and it is told."""
    return secrets.randbits(_SEED_BITS)


def check_label(label: str, field: str) -> str:
    """The label, which stands in logs. Raises InvalidInput naming the field."""
    if len(label) > _MOST_LABEL_CHARACTERS or not (label.isascii() and (label.isprintable() or not label)):
        raise InvalidInput(field, f"must be at most {_MOST_LABEL_CHARACTERS} printable ASCII characters")
    return label
