"""Files whose value is read anew when they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from moshi_cluster.services.common.reloaded import Reloaded
from moshi_cluster.services.common.settings import SettingError


class Number:
    """A file with a number, and a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "number"
        self.path.write_text("1")
        self.now_s = 100.0
        self.reads = 0
        self.reloaded = Reloaded([self.path], self._read, lambda: self.now_s)

    def _read(self) -> int:
        self.reads += 1
        try:
            return int(self.path.read_text())
        except (OSError, ValueError) as error:
            raise SettingError(f"NUMBER: {error}") from None


@pytest.fixture
def number(tmp_path: Path) -> Number:
    return Number(tmp_path)


def test_a_changed_file_is_read_anew_and_an_unchanged_one_is_not(number: Number) -> None:
    number.path.write_text("22")
    assert number.reloaded.get() == 1, "nobody has looked yet"
    number.now_s += 1
    assert number.reloaded.get() == 22
    number.now_s += 1
    assert number.reloaded.get() == 22
    assert number.reads == 2


def test_a_link_that_leads_elsewhere_is_a_change(number: Number, tmp_path: Path) -> None:
    """As Kubernetes changes what it mounts."""
    (tmp_path / "other").write_text("3")
    number.path.unlink()
    number.path.symlink_to(tmp_path / "other")
    number.now_s += 1
    assert number.reloaded.get() == 3


@pytest.mark.parametrize("content", ["no number", None])
def test_what_cannot_be_read_leaves_what_was_read_before(
    number: Number, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    number.path.unlink()
    if content is not None:
        number.path.write_text(content)
    number.now_s += 1
    assert number.reloaded.get() == 1
    assert "what was read before stays: NUMBER: " in caplog.text
    number.path.write_text("4444")
    number.now_s += 1
    assert number.reloaded.get() == 4444


def test_at_the_start_it_is_an_error(tmp_path: Path) -> None:
    def read() -> int:
        raise SettingError("NUMBER: missing")

    with pytest.raises(SettingError, match="NUMBER: missing"):
        Reloaded([tmp_path / "number"], read)
