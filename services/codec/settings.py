"""Settings of the codec service; variables begin with MOSHI_CODEC_."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from moshi_cluster.services.common.process_settings import WorkerSettings
from moshi_cluster.services.common.settings import SettingError, setting
from moshi_cluster.services.common.worker.program import largest_batch, uses_static_step

PREFIX = "MOSHI_CODEC_"
MOST_SLOTS = 1024


@dataclass(frozen=True)
class CodecSettings(WorkerSettings):
    """Everything that can be set about a codec worker."""

    port: int = setting(50052, "gRPC port; 0 picks a free one.", minimum=0, maximum=65535)
    metrics_port: int = setting(9102, "Prometheus port; 0 picks a free one.", minimum=0, maximum=65535)
    backend: str = setting(
        "torch",
        "What runs Mimi: PyTorch in this process, or a Triton server, docs/triton.md.",
        choices=("torch", "triton"),
    )
    triton_url: str | None = setting(None, "host:port of Triton's gRPC port, with the backend triton.")
    triton_model: str = setting("mimi", "Its models are called so, with _encode and _decode behind.")
    triton_answer_timeout_s: float = setting(
        5.0, "A frame that Triton has not answered for this long ends its stream.", minimum=0.1
    )
    mimi_weights: str | None = setting(
        None, "Mimi's weights: a name in the checkpoint, hf://owner/repo/path or file://path."
    )
    mimi_config: str | None = setting(None, "Mimi's configuration, as above.")
    slots: int | None = setting(
        None,
        "Encode streams, and as many decode streams, held at once; unset: 32 on a CPU, elsewhere 128 or what fits, and "
        "with Triton what its models hold.",
        minimum=1,
        maximum=MOST_SLOTS,
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

    @property
    def held_slots(self) -> int:
        """`slots`, or its default on this device: at most so many."""
        return self.slots or (32 if self.device.partition(":")[0] == "cpu" else 128)

    @property
    def most_slots(self) -> int:
        """What `slots` may turn out to be: Triton's models say it later."""
        return MOST_SLOTS if self.backend == "triton" and self.slots is None else self.held_slots

    @property
    def uses_static_step(self) -> bool:
        """As set, else on CUDA."""
        return uses_static_step(self.static_step, self.device)

    @property
    def largest_batch(self) -> int:
        """`max_batch`, or its default."""
        return largest_batch(self.max_batch, self.held_slots, self.uses_static_step)


_OF_TORCH = (
    *("checkpoint", "hf_repo", "mimi_weights", "mimi_config", "config", "device", "threads", "max_batch"),
    *("static_step", "encode_gather_ms", "decode_gather_ms"),
)


def check_backend(settings: CodecSettings) -> None:
    """Raises SettingError when the backend triton has no address to go to, or another one has."""
    if settings.backend != "triton":
        if settings.triton_url is not None:
            raise SettingError(f"{PREFIX}TRITON_URL: needs the backend triton")
        return
    host, _, port = (settings.triton_url or "").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SettingError(f"{PREFIX}TRITON_URL: expected host:port, got {settings.triton_url!r}")


def unused_settings(settings: CodecSettings) -> Iterator[str]:
    """Names of settings that differ from their defaults and mean nothing to the backend triton."""
    yield from (f.name for f in fields(settings) if f.name in _OF_TORCH and getattr(settings, f.name) != f.default)
