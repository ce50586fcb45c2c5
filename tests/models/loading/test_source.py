"""What the hub may answer, in words that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import errors as hub_errors

from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError
from moshi_cluster.models.loading.source import Repository, find_file
from tests.models.loading.fake_hub import FakeHub


class _Answer:
    """As much of an HTTP response as the hub's errors look at."""

    def __getattr__(self, name: str) -> Any:
        return {"headers": {}, "request": None}.get(name)


def _http(kind: Callable[..., Exception]) -> Exception:
    return kind("said the hub", response=_Answer())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (_http(hub_errors.GatedRepoError), "o/n@v1: access to this repository must be granted"),
        (_http(hub_errors.RepositoryNotFoundError), "o/n@v1: no such repository"),
        (_http(hub_errors.RevisionNotFoundError), "o/n@v1: the repository has no such revision"),
        (hub_errors.LocalEntryNotFoundError("offline"), "o/n@v1: f is not cached and the hub is out of reach"),
        (_http(hub_errors.HfHubHTTPError), "o/n@v1: could not fetch f: said the hub"),
        (hub_errors.HFValidationError("bad name"), "o/n@v1: could not fetch f: bad name"),
        (OSError(28, "No space left on device"), "o/n@v1: could not fetch f: .*No space left"),
    ],
)
def test_every_failure_of_the_hub_is_said_in_our_words(failure: Exception, message: str, hub: FakeHub) -> None:
    hub.failure = failure
    with pytest.raises(CheckpointError, match=message) as raised:
        Repository("o/n", "v1").find("f")
    assert not isinstance(raised.value, MissingFileError)


def test_a_file_that_a_repository_lacks_is_missing(hub: FakeHub) -> None:
    hub.failure = hub_errors.EntryNotFoundError("404")
    with pytest.raises(MissingFileError, match="o/n: the repository has no file sub/f"):
        find_file("hf://o/n/sub/f", None)
    assert hub.asked == [("o/n", "sub/f", None)]


def test_a_revision_may_stand_in_a_hub_file_name(hub: FakeHub) -> None:
    hub.failure = hub_errors.EntryNotFoundError("404")
    for revision, asked in (("v1", "v1"), ("refs/pr/3", "refs/pr/3"), ("mine%2Fnew", "mine/new")):
        with pytest.raises(MissingFileError):
            find_file(f"hf://o/n@{revision}/sub/f", None)
        assert hub.asked.pop() == ("o/n", "sub/f", asked)
