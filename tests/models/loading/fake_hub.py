"""A hub that never leaves this machine."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import errors as hub_errors


class FakeHub:
    """Repositories are folders; remembers what was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.failure: Exception | None = None
        self.cached: set[str] = set()  # files that are on this machine

    def download(
        self, repo_id: str, filename: str, *, revision: str | None = None, local_files_only: bool = False
    ) -> str:
        if local_files_only and filename not in self.cached:
            raise hub_errors.LocalEntryNotFoundError(filename)
        self.asked.append((repo_id, filename, revision))
        self.cached.add(filename)
        if self.failure is not None:
            raise self.failure
        path = self.repositories[repo_id] / filename
        if not path.is_file():
            raise hub_errors.EntryNotFoundError(filename)
        return str(path)

    def files_asked(self) -> list[str]:
        return [filename for _repo_id, filename, _revision in self.asked]
