"""Settings that every service has, and those that the workers share."""

from __future__ import annotations

from dataclasses import dataclass

from moshi_cluster.services.common.listening import Host
from moshi_cluster.services.common.settings import setting


@dataclass(frozen=True)
class ProcessSettings:
    """What can be set about any of the three; each has ports of its own by default."""

    host: Host = setting(Host("0.0.0.0"), "Address to listen on; `::` for every one, of IPv6 and IPv4.")
    port: int = setting(0, "gRPC port; 0 picks a free one.", minimum=0, maximum=65535)
    metrics_port: int = setting(0, "Prometheus port; 0 picks a free one.", minimum=0, maximum=65535)
    attached: bool = setting(False, "Stops, as after SIGTERM, when standard input ends: with whoever started it.")
    drain_grace_s: float = setting(30.0, "Time that running calls and sessions have after SIGTERM.", minimum=0.0)
    log_format: str = setting(
        "text", "Log lines for people, or each as a JSON object for programs.", choices=("text", "json")
    )
    log_level: str = setting("info", "Least serious lines to log.", choices=("debug", "info", "warning", "error"))


@dataclass(frozen=True)
class WorkerSettings(ProcessSettings):
    """What can be set about a codec and an lm alike."""

    checkpoint: str | None = setting(None, "Folder laid out as published, or a repository.")
    hf_repo: str | None = setting(None, "Hugging Face repository, owner/name[@revision].")
    config: str | None = setting(
        None, "The checkpoint's config.json: a name in it, hf://owner/repo/path or file://path."
    )
    device: str = setting("cpu", "torch device, for example cpu or cuda:0.")
    threads: int = setting(1, "CPU threads of one step.", minimum=1, maximum=256)
    max_batch: int | None = setting(
        None, "Largest batch of one step; unset: 64, and every slot with the static step.", minimum=1, maximum=1024
    )
    static_step: str = setting(
        "auto",
        "Steps over fixed buffers, which a GPU records and repeats; auto: on CUDA.",
        choices=("auto", "on", "off"),
    )
    inflight_frames: int = setting(8, "Frames of one stream between arrival and answer.", minimum=1, maximum=256)
    first_frame_timeout_s: float = setting(
        15.0, "A stream that holds a slot and has sent no frame for this long ends.", minimum=0.1
    )
    idle_timeout_s: float = setting(60.0, "A stream that neither sends nor reads for this long ends.", minimum=0.1)
    drain_linger_s: float = setting(
        10.0, "New sessions are taken for so long after SIGTERM, by gateways that have no other worker.", minimum=0.0
    )
    mtls_dir: str = setting(
        "",
        "Folder with tls.crt, tls.key and ca.crt: the gRPC port speaks TLS with whoever shows a certificate of ca.crt."
        " Empty: not encrypted.",
    )
