"""Settings of the lm service; variables begin with MOSHI_LM_."""

from __future__ import annotations

from dataclasses import dataclass

from moshi_cluster.services.common.process_settings import WorkerSettings
from moshi_cluster.services.common.settings import setting

PREFIX = "MOSHI_LM_"
MOST_SLOTS = 256
"""When `slots` is unset; on a CPU, where a step of more sessions is not real time, MOST_SLOTS_ON_CPU."""
MOST_SLOTS_ON_CPU = 32


@dataclass(frozen=True)
class LmSettings(WorkerSettings):
    """Everything that can be set about an lm worker."""

    port: int = setting(50053, "gRPC port; 0 picks a free one.", minimum=0, maximum=65535)
    metrics_port: int = setting(9103, "Prometheus port; 0 picks a free one.", minimum=0, maximum=65535)
    lm_weights: str | None = setting(None, "LM weights: a name in the checkpoint, hf://owner/repo/path or file://path.")
    lora_weights: str | None = setting(None, "Adapters of the LM, as above; unset: the checkpoint's own, if any.")
    lora_scaling: float | None = setting(
        None, "What adapters are multiplied by; unset: as config.json says.", minimum=0.0, maximum=1000.0
    )
    fuse_lora: bool = setting(True, "Adapters become part of dense weights; false keeps them apart.")
    tokenizer: str | None = setting(None, "SentencePiece model, as above.")
    dtype: str = setting(
        "auto",
        "Type of activations; auto is float32 for dense weights on a CPU, else bfloat16.",
        choices=("auto", "float32", "bfloat16"),
    )
    quantize: str | None = setting(
        None, "Holds dense weights in 8 or 4 bits; unset: as they are in the file.", choices=("int8", "int4")
    )
    kv_dtype: str = setting(
        "auto",
        "Type of the attention's memory; auto is the activations', int8 is 8 bits with a scale per vector.",
        choices=("auto", "float32", "bfloat16", "int8"),
    )
    slots: int | None = setting(
        None, "Sessions held at once; unset: what fits, at most 32 on a CPU and 256 elsewhere.", minimum=1, maximum=1024
    )
    memory_share: float | None = setting(
        None,
        "Share of the free memory that sessions may take when `slots` is unset; unset: 0.8, on a GPU 0.95 of what the "
        "static step leaves.",
        minimum=0.01,
        maximum=1.0,
    )
    leave_for_codec: bool = setting(
        True, "When `slots` is unset, leaves memory for a codec on the same GPU; false where the codec has its own."
    )
    one_bucket: bool = setting(
        False,
        "The static step always has its largest number of rows: no bit depends on how many calls there are.",
    )
    mps_priority: str = setting(
        "below",
        "Of this worker on a card that it shares under NVIDIA's MPS; below lets the codec's short steps pass.",
        choices=("normal", "below"),
    )
    gather_ms: float | None = setting(
        None,
        "A frame may wait this long for others to share its step; unset: 1 on a CPU, else 0.",
        minimum=0,
        maximum=80,
    )
    context: int | None = setting(None, "Frames the model looks back, at most the checkpoint's figure.", minimum=2)
    voices: str | None = setting(
        None, "Folder or archive of voices for prompts; unset: the checkpoint's `voices` or voices.tgz."
    )
    max_prompt_frames: int = setting(
        1000, "Longest prompt of a session, voice and text together, less than the context.", minimum=16
    )
    prompt_cache_mb: int = setting(
        1024, "Memory for the state after prompts, so that the next session with the same one opens at once.", minimum=0
    )
    prefill_chunk_frames: int | None = setting(
        None,
        "Frames of history read between two steps; by the static step as many as cost what these do at half a window. "
        "Unset: 64, by the static step 32.",
        minimum=1,
        maximum=4096,
    )
    max_history_frames: int = setting(45_000, "Longest history a session may open with (45,000 is an hour).", minimum=0)
    open_timeout_s: float = setting(10.0, "A stream whose `open` does not come within this time ends.", minimum=0.1)
    prepare_timeout_s: float = setting(60.0, "Longest time a session may wait for its prefill.", minimum=0.1)
