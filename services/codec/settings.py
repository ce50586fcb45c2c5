"""Settings of the codec service; variables begin with MOSHI_CODEC_."""

from __future__ import annotations

from dataclasses import dataclass

from moshi_cluster.services.common.listening import Host
from moshi_cluster.services.common.settings import setting
from moshi_cluster.services.common.worker.program import largest_batch, uses_static_step

PREFIX = "MOSHI_CODEC_"


@dataclass(frozen=True)
class CodecSettings:
    """Everything that can be set about a codec worker."""

    host: Host = setting(Host("0.0.0.0"), "Address to listen on; `::` for every one, of IPv6 and IPv4.")
    port: int = setting(50052, "gRPC port; 0 picks a free one.", minimum=0, maximum=65535)
    metrics_port: int = setting(9102, "Prometheus port; 0 picks a free one.", minimum=0, maximum=65535)
    checkpoint: str | None = setting(None, "Folder laid out as published, or a repository.")
    hf_repo: str | None = setting(None, "Hugging Face repository, owner/name[@revision].")
    mimi_weights: str | None = setting(
        None, "Mimi's weights: a name in the checkpoint, hf://owner/repo/path or file://path."
    )
    mimi_config: str | None = setting(None, "Mimi's configuration, as above.")
    config: str | None = setting(None, "The checkpoint's config.json, as above.")
    device: str = setting("cpu", "torch device, for example cpu or cuda:0.")
    threads: int = setting(1, "CPU threads of one step.", minimum=1, maximum=256)
    slots: int | None = setting(
        None,
        "Encode streams, and as many decode streams, held at once; unset: 32 on a CPU, elsewhere 128 or what fits.",
        minimum=1,
        maximum=1024,
    )
    max_batch: int | None = setting(
        None, "Largest batch of one step; unset: 64, and every slot with the static step.", minimum=1, maximum=1024
    )
    static_step: str = setting(
        "auto",
        "Steps over fixed buffers, which a GPU records and repeats; auto: on CUDA.",
        choices=("auto", "on", "off"),
    )
    encode_gather_ms: float | None = setting(
        None,
        "A frame may wait this long for others to be encoded with; unset: 18 on a CPU, else 0.",
        minimum=0,
        maximum=80,
    )
    decode_gather_ms: float | None = setting(
        None,
        "A frame may wait this long for others to be decoded with; unset: 1 on a CPU, else 0.",
        minimum=0,
        maximum=80,
    )
    inflight_frames: int = setting(8, "Frames of one stream between arrival and answer.", minimum=1, maximum=256)
    first_frame_timeout_s: float = setting(
        15.0, "A stream that holds a slot and has sent no frame for this long ends.", minimum=0.1
    )
    idle_timeout_s: float = setting(60.0, "A stream that neither sends nor reads for this long ends.", minimum=0.1)
    drain_grace_s: float = setting(30.0, "Time that running streams have after SIGTERM.", minimum=0.0)
    drain_linger_s: float = setting(
        10.0, "New streams are taken for so long after SIGTERM, by gateways that have no other worker.", minimum=0.0
    )
    log_level: str = setting("info", "Least serious lines to log.", choices=("debug", "info", "warning", "error"))

    @property
    def held_slots(self) -> int:
        """`slots`, or its default on this device: at most so many."""
        return self.slots or (32 if self.device.partition(":")[0] == "cpu" else 128)

    @property
    def uses_static_step(self) -> bool:
        """As set, else on CUDA."""
        return uses_static_step(self.static_step, self.device)

    @property
    def largest_batch(self) -> int:
        """`max_batch`, or its default."""
        return largest_batch(self.max_batch, self.held_slots, self.uses_static_step)
