"""What a file of weights is, told from its header alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.gguf import GgufFile
from moshi_cluster.models.loading.names import Names, recognise
from moshi_cluster.models.loading.published import INT4_GROUP
from moshi_cluster.models.loading.quantised_layouts import Assembled, Form

_BYTES = {"float32": 4, "bfloat16": 2}
_SCALE_BYTES = 4  # float32, or a scale and a zero in bfloat16


@dataclass(frozen=True)
class LmFile:
    """The file of an LM."""

    path: Path
    container: str  # "safetensors" or "GGUF"
    names: Names
    forms: Mapping[str, Form]  # by the file's own names
    stored_types: Mapping[str, int]  # as the file spells them -> tensors

    @property
    def kinds(self) -> Counter[str]:
        """How its values are held, "8 bits per row" for example -> parameters; floats under "dense"."""
        kinds: Counter[str] = Counter()
        for form in self.forms.values():
            kinds[form.kind or "dense"] += form.parameters
        return kinds

    @property
    def quantised(self) -> bool:
        """Whether its linear layers are."""
        return any(form.bits for form in self.forms.values())

    def memory_bytes(self, dtype: str, quantize: str | None = None) -> int:
        """What the weights take when they run, about. dtype: of activations; quantize: what dense ones become."""
        return sum(_memory_bytes(form, dtype, quantize) for form in self.forms.values())


def recognise_lm(path: Path) -> LmFile:
    """Raises CheckpointError for what is not an LM of a known layout."""
    file = open_tensors(path)
    names = recognise(path, file.entries)
    assembled = Assembled(file)
    return LmFile(
        path=path,
        container="GGUF" if isinstance(file, GgufFile) else "safetensors",
        names=names,
        forms={name: assembled.form(name) for name in assembled},
        stored_types=Counter(entry.stored_type for entry in file.entries.values()),
    )


def _memory_bytes(form: Form, dtype: str, quantize: str | None) -> int:
    """As models/layers/quantised holds it; embeddings as in the file."""
    if not form.bits:
        if quantize is None or len(form.shape) != 2:
            return form.parameters * _BYTES[dtype]
        four = quantize == "int4" and form.shape[1] % INT4_GROUP == 0
        form = Form(form.shape, 0, 4, INT4_GROUP) if four else Form(form.shape, 0, 8)
    halves = 2 if form.bits == 8 and form.group else 1  # each half of a code has a scale and a zero
    packed_bits = form.bits if dtype == "bfloat16" else 8
    groups = form.parameters // (form.group or form.shape[-1] or 1)
    return form.parameters * packed_bits // 8 + groups * halves * _SCALE_BYTES
