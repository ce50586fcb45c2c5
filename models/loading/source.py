"""Checkpoint sources: a folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub
from huggingface_hub import errors as hub_errors

from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError

_HUB = "hf://"
_LOCAL = "file://"
_MOST_CHARACTERS = 200  # of another library's text in a message of ours
_REPOSITORY = re.compile(r"(?P<repo_id>[\w.-]+/[\w.-]+)(@(?P<revision>[^@\s]+))?")
# A revision has no slash but one of the hub's own, `refs/pr/3`; in others the slash is written %2F, as on the hub.
_HUB_FILE = re.compile(r"(?P<repo_id>[\w.-]+/[\w.-]+)(@(?P<revision>refs/[\w-]+/[^@/\s]+|[^@/\s]+))?/(?P<path>.+)")


@dataclass(frozen=True)
class Folder:
    """A checkpoint in a folder of this machine."""

    path: Path

    def find(self, name: str, download: bool = True) -> Path:
        """The file `name` of the folder, where nothing need be downloaded. Raises MissingFileError."""
        return _existing(self.path / name)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Repository:
    """A checkpoint in a hub repository; files come through the hub's cache, with its progress bars."""

    repo_id: str
    revision: str | None = None

    def find(self, name: str, download: bool = True) -> Path:
        """The file `name` of the repository, downloaded once, or only looked for among those that were.

        Raises MissingFileError when the repository has no such file, CheckpointError for everything else.
        """
        try:
            return Path(
                huggingface_hub.hf_hub_download(
                    self.repo_id, name, revision=self.revision, local_files_only=not download
                )
            )
        except hub_errors.GatedRepoError as error:
            raise CheckpointError(f"{self}: access to this repository must be granted and a token set") from error
        except hub_errors.RepositoryNotFoundError as error:
            raise CheckpointError(f"{self}: no such repository on the hub, or it is private") from error
        except hub_errors.RevisionNotFoundError as error:
            raise CheckpointError(f"{self}: the repository has no such revision") from error
        except hub_errors.LocalEntryNotFoundError as error:
            # An EntryNotFoundError too, but it says nothing about the repository: no answer came, or none of use.
            raise CheckpointError(f"{self}: {name} is not cached and {_why_no_answer(error)}") from error
        except hub_errors.EntryNotFoundError as error:
            raise MissingFileError(f"{self}: the repository has no file {name}") from error
        except Exception as error:  # the hub's HTTP library has a tree of errors of its own, and changes it
            raise CheckpointError(f"{self}: could not fetch {name}: {_in_one_line(error)}") from error

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"


Source = Folder | Repository


def parse_source(text: str) -> Source:
    """`owner/name[@revision]` with or without hf://, or a folder; a folder that exists wins.

    Raises CheckpointError when the text is neither.
    """
    path = Path(text.removeprefix(_LOCAL)).expanduser()
    if text and path.is_dir():
        return Folder(path)
    match = _REPOSITORY.fullmatch(text.removeprefix(_HUB))
    if match is None or text.startswith((".", "~", _LOCAL)):
        raise CheckpointError(
            f"checkpoint {text!r} is neither an existing folder nor a repository owner/name[@revision]"
        )
    return Repository(match["repo_id"], match["revision"])


def find_file(name: str, source: Source | None, download: bool = True) -> Path:
    """The file behind a name as it may stand in config.json or in a setting.

    `hf://owner/repo[@revision]/path` is a file of any repository, `file://path` one of this machine, everything else
    a file of `source`, or of this machine when there is none. download: whether a file of the hub that is not on this
    machine may be fetched. Raises CheckpointError.
    """
    if name.startswith(_HUB):
        match = _HUB_FILE.fullmatch(name.removeprefix(_HUB))
        if match is None:
            raise CheckpointError(f"{name!r}: expected hf://owner/repo[@revision]/path")
        revision = None if match["revision"] is None else unquote(match["revision"])
        return Repository(match["repo_id"], revision).find(match["path"], download)
    if name.startswith(_LOCAL) or source is None:
        return _existing(Path(name.removeprefix(_LOCAL)).expanduser())
    return source.find(name, download)


def _why_no_answer(error: hub_errors.LocalEntryNotFoundError) -> str:
    """What stood in the way. The hub's library says "check your connection" for everything."""
    cause = error.__cause__
    if isinstance(cause, hub_errors.FileMetadataError):
        return "what answers in the hub's place is not a hub: a login page or a proxy"
    if isinstance(cause, hub_errors.HfHubHTTPError):
        return f"could not be fetched: {_in_one_line(cause)}"
    return "the hub is out of reach" + (f": {_in_one_line(cause)}" if cause is not None else "")


def _in_one_line(error: BaseException) -> str:
    """The first line of an error's text; an answer with its status, an error without a text by its type."""
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)[:_MOST_CHARACTERS]
    status = getattr(getattr(error, "response", None), "status_code", None)
    return text if status is None or str(status) in text else f"{status} {text}"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    return path
