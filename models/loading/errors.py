"""Errors of checkpoint loading."""

from __future__ import annotations


class CheckpointError(Exception):
    """The checkpoint cannot be used; the message names the file or the field and says why."""


class MissingFileError(CheckpointError):
    """The source is reachable and has no such file."""


class MissingTensorError(CheckpointError, KeyError):
    """The file has no such tensor. Also a KeyError, as a Mapping promises."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message in quotes
