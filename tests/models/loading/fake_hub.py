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

    def download(self, repo_id: str, filename: str, *, revision: str | None = None) -> str:
        self.asked.append((repo_id, filename, revision))
        if self.failure is not None:
            raise self.failure
        path = self.repositories[repo_id] / filename
        if not path.is_file():
            raise hub_errors.EntryNotFoundError(filename)
        return str(path)

    def files_asked(self) -> list[str]:
        return [filename for _repo_id, filename, _revision in self.asked]
