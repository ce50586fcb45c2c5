"""Opening the weights of one model: a progress line around it, and errors that name the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.progress import LoadingProgress

File = TypeVar("File")


@contextmanager
def opened(path: Path | None, what: str, open_file: Callable[[Path, Callable[[int], None]], File]) -> Iterator[File]:
    """The tensors of a file, while a model is built from them. Whatever is wrong with them is said with its name."""
    if path is None:
        raise CheckpointError(f"the checkpoint was resolved without the files of {what}")
    with naming(path), LoadingProgress(what, path) as line:
        yield open_file(path, line.advance)


@contextmanager
def naming(where: object) -> Iterator[None]:
    """What a model finds wrong with its configuration or its tensors becomes a CheckpointError that says where."""
    try:
        yield
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error
