"""Opening the weights of one model: a progress line around it, and errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.loading.errors import CheckpointError
from models.loading.progress import LoadingLine
from models.loading.tensors import SafetensorsFile


@contextmanager
def opened(path: Path | None, what: str) -> Iterator[SafetensorsFile]:
    """The tensors of a file, while a model is built from them.

    Whatever the model finds wrong with its configuration or the tensors becomes a CheckpointError naming the file.
    """
    if path is None:
        raise CheckpointError(f"the checkpoint was resolved without the files of {what}")
    try:
        with LoadingLine(what, path) as line:
            yield SafetensorsFile(path, line.advance)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
