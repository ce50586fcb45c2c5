"""config.pbtxt of the models that run Mimi in Triton, in protobuf's text format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moshi_cluster.services.codec.triton.contract import (
    CODES,
    CORRID,
    END,
    PCM,
    READY,
    START,
    STEP,
    STEP_FIELDS,
    MimiParameters,
    model_name,
)


@dataclass(frozen=True)
class RepositoryOptions:
    """What an operator chooses of the models. Defaults are for a CPU."""

    name: str = "mimi"
    slots: int = 32
    """Sequences for clients; as many again are there for those that a client has left without an end."""
    max_batch: int = 32  # of the strategy oldest
    device: str = "cpu"  # or "gpu"
    gpus: Sequence[int] = ()  # empty: every one
    instances: int = 1  # of each model, on each device; each has slots of its own
    threads: int = 1
    strategy: str = "direct"  # or "oldest": docs/triton.md has figures
    queue_delay_ms: float = 0.0
    idle_timeout_s: float = 65.0

    @property
    def sequences(self) -> int:
        """Sequences that an instance holds at most."""
        return 2 * self.slots

    @property
    def largest_batch(self) -> int:
        """Direct has a place in the batch for every sequence, those that are forgotten included."""
        return self.sequences if self.strategy == "direct" else self.max_batch


def config_pbtxt(parameters: MimiParameters, options: RepositoryOptions) -> str:
    """The model's configuration, in protobuf's text format."""
    pcm = _tensor(PCM, "TYPE_FP32", parameters.frame_samples)
    codes = _tensor(CODES, "TYPE_INT32", parameters.codebooks)
    step = _tensor(STEP, "TYPE_INT64", STEP_FIELDS)
    taken, given = (pcm, codes) if parameters.program == "encode" else (codes, pcm)
    strings = parameters.as_strings() | {"threads": str(options.threads), "sequences": str(options.sequences)}
    lines = [
        f'name: "{model_name(options.name, parameters.program)}"',
        'backend: "python"',
        f"max_batch_size: {options.largest_batch}",
        f"input [ {taken} ]",
        f"output [ {given}, {step} ]",
        _sequence_batching(options),
        f"instance_group [ {_instance_group(options)} ]",
        *(f'parameters: {{ key: "{key}" value: {{ string_value: "{value}" }} }}' for key, value in strings.items()),
    ]
    return "\n".join(lines) + "\n"


def _tensor(name: str, data_type: str, length: int) -> str:
    return f'{{ name: "{name}" data_type: {data_type} dims: [ {length} ] }}'


def _sequence_batching(options: RepositoryOptions) -> str:
    flags = {START: "CONTROL_SEQUENCE_START", END: "CONTROL_SEQUENCE_END", READY: "CONTROL_SEQUENCE_READY"}
    controls = [
        *(
            f'{{ name: "{name}" control [ {{ kind: {kind} int32_false_true: [ 0, 1 ] }} ] }}'
            for name, kind in flags.items()
        ),
        f'{{ name: "{CORRID}" control [ {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }} ] }}',
    ]
    delay_us = round(1000 * options.queue_delay_ms)
    if options.strategy == "oldest":
        strategy = f"oldest {{ max_candidate_sequences: {options.sequences} max_queue_delay_microseconds: {delay_us} }}"
    else:
        strategy = f"direct {{ max_queue_delay_microseconds: {delay_us} }}"
    joined = ",\n    ".join(controls)
    idle_us = round(1e6 * options.idle_timeout_s)
    return (
        f"sequence_batching {{\n  max_sequence_idle_microseconds: {idle_us}\n  {strategy}\n"
        f"  control_input [\n    {joined}\n  ]\n}}"
    )


def _instance_group(options: RepositoryOptions) -> str:
    kind = "KIND_GPU" if options.device == "gpu" else "KIND_CPU"
    gpus = f" gpus: [ {', '.join(map(str, options.gpus))} ]" if options.gpus else ""
    return f"{{ kind: {kind} count: {options.instances}{gpus} }}"
