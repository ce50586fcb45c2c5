"""What the codec and its models in Triton agree on: names of models, tensors and parameters.

Two models, `<name>_encode` and `<name>_decode`. A request is one frame of one sequence, an answer the frame's other
side and the account of the step that took it. START makes a sequence's slot as good as new; the slot of a request with
END is free once that is answered, whose frame is run like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

PROGRAMS = ("encode", "decode")

PCM = "PCM"
"""float32 [samples of a frame]: input of encode, output of decode."""
CODES = "CODES"
"""int32 [codebooks]: output of encode, input of decode."""
STEP = "STEP"
"""int64 [3], output of both: number of the step, its length in microseconds, frames in its batch."""
START, END, READY, CORRID = "START", "END", "READY", "CORRID"
"""Control inputs of Triton's sequence batcher: int32 [1], the last one uint64 [1]."""

STEP_FIELDS = 3

Shapes = Mapping[str, tuple[int, ...]]
"""Tensors by name, without the axis of the batch."""

_PREFIX = "moshi_"


def model_name(name: str, program: str) -> str:
    """The model of a program, for example mimi_encode."""
    return f"{name}_{program}"


@dataclass(frozen=True)
class MimiParameters:
    """What a model's configuration says of the Mimi that it runs, as `parameters` of config.pbtxt."""

    program: str
    fingerprint: str  # 16 hex digits, as of any codec worker
    frame_samples: int
    codebooks: int
    bins: int
    slots: int
    """Sequences that are held at once, with room for as many that their clients have forgotten."""

    @property
    def model(self) -> tuple[str, int, int, int]:
        """What encode and decode of one Mimi have in common."""
        return self.fingerprint, self.frame_samples, self.codebooks, self.bins

    def as_strings(self) -> dict[str, str]:
        """The parameters by name."""
        return {_PREFIX + field.name: str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_strings(cls, given: Mapping[str, str]) -> MimiParameters:
        """Reads what `as_strings` wrote. Raises ValueError naming the first parameter that is missing or malformed."""
        texts = {field.name: given.get(_PREFIX + field.name, "") for field in fields(cls)}
        program, fingerprint = texts.pop("program"), texts.pop("fingerprint")
        if program not in PROGRAMS:
            raise ValueError(f"the parameter {_PREFIX}program is {program!r}, expected one of {', '.join(PROGRAMS)}")
        if not fingerprint:
            raise ValueError(f"the parameter {_PREFIX}fingerprint is missing")
        return cls(program, fingerprint, **{name: _positive(name, text) for name, text in texts.items()})


@dataclass(frozen=True)
class ModelStats:
    """What Triton has counted for a model since it was loaded, all its clients together."""

    requests: int
    failures: int
    queue_s: float
    """From a request's arrival in Triton to its step, summed over requests."""
    compute_s: float
    """In the model, its inputs and outputs included, summed over requests: a step of eight counts eight times."""


def tensors(parameters: MimiParameters) -> tuple[Shapes, Shapes]:
    """Inputs and outputs of a model with these parameters."""
    pcm, codes = {PCM: (parameters.frame_samples,)}, {CODES: (parameters.codebooks,)}
    taken, given = (pcm, codes) if parameters.program == "encode" else (codes, pcm)
    return taken, given | {STEP: (STEP_FIELDS,)}


def check_tensors(parameters: MimiParameters, inputs: Shapes, outputs: Shapes) -> None:
    """Raises ValueError for a model whose tensors are not those that its parameters stand for."""
    if (inputs, outputs) != tensors(parameters):
        raise ValueError("its tensors are not those of a Mimi with its parameters")


def _positive(name: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise ValueError(f"the parameter {_PREFIX}{name} is {text!r}, expected a positive number")
    return int(text)
