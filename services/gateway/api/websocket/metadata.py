"""Metadata messages of /api/chat (docs/websocket.md). The keys of `in_use` are those of upstream's servers."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from moshi_cluster.services.gateway.api.websocket.query import SAMPLING_PARAMETERS, ChatRequest
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.events import CallEvent, Resume, Started
from moshi_cluster.v1 import common_pb2

_COUNTERS = (
    *("frames_in", "frames_out", "frames_filled", "frames_dropped", "frames_late", "reply_frames_dropped"),
    "moves",
)
# Moshi's own web page shows nothing of the metadata unless all of these are texts.
_BUILD_KEYS = (
    *("build_timestamp", "build_date", "git_branch", "git_timestamp", "git_date", "git_hash", "git_describe"),
    *("rustc_host_triple", "rustc_version", "cargo_target_triple"),
)

Metadata = dict[str, Any]


def server() -> Metadata:
    """The first message of a connection."""
    return {"server": "moshi-cluster"}


def resumed(conversation: Conversation) -> Metadata:
    """The answer to a connection that asked to go on with a conversation: whether it does, and what is left of it."""
    if conversation.earlier is None:
        return {"resumed": False}
    return {"resumed": True, "remembered_frames": conversation.history.total_frames}


def resume(how: Resume) -> Metadata:
    """The key that a client shows to go on with the conversation, and for how long it is kept after a loss."""
    return {"resume": how.key, "resume_keep_s": how.keep_s}


def queue(position: int, waiting: int) -> Metadata:
    """A client's position in the admission queue, 1 for the next; of how many."""
    return {"queue": {"position": position, "waiting": waiting}}


def in_use(started: Started, asked: ChatRequest, instance_name: str) -> Metadata:
    """The conversation that begins: its models, sampling and seeds."""
    return {
        "session_id": started.session_id,
        "instance_name": instance_name,
        "build_info": dict.fromkeys(_BUILD_KEYS, "") | {"git_describe": _version()},
        "lm_model_file": started.checkpoints.lm,
        "mimi_model_file": started.checkpoints.codec,
        **_sampling(started.sampling),
        "text_seed": asked.text_seed,
        "audio_seed": asked.audio_seed,
    }


def stats(call: Call) -> Metadata:
    """The conversation so far: median latencies and counters."""
    medians_s = call.hop_times.take_medians_s()
    return {
        "latency_ms": {hop: round(1000 * seconds, 2) for hop, seconds in medians_s.items()},
        "counters": {name: getattr(call.counters, name) for name in _COUNTERS},
    }


def event(event: CallEvent) -> Metadata:
    """Something that happened to the conversation."""
    return {
        "event": {
            "kind": event.kind.name.lower(),
            "frame_index": event.frame_index,
            "frames": event.frames,
            "detail": event.detail,
        }
    }


def _sampling(sampling: common_pb2.Sampling) -> Metadata:
    """Parameters in use, under upstream's names; a loopback call samples nothing and has none."""
    names = SAMPLING_PARAMETERS.items()
    return {name: _tidy(getattr(sampling, field)) for name, field in names if sampling.HasField(field)}


def _tidy(value: float) -> float:
    """A 32-bit 0.7 is 0.699999988."""
    return round(value, 6)


@functools.cache  # it reads files
def _version() -> str:
    try:
        return importlib.metadata.version("moshi-cluster")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
