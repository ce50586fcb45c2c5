"""File of secrets, one a line, so that no command line and no log has them."""

from __future__ import annotations

from pathlib import Path

from moshi_cluster.services.common.settings import SettingError


def secret_lines(path: str, variable: str, what: str) -> list[tuple[str, str]]:
    """The lines that count, each after its place in words. Raises SettingError for a file that cannot be read, or has
    none; nothing of a line is in it.

    Blank lines and those that begin with # are comments, a byte-order mark is passed over. variable: of the setting
    that names the file. what: a line is.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise SettingError(f"{variable}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingError(f"{variable}: {path} is not UTF-8 text") from None
    numbered = [(f"{path}, line {number}", line.strip()) for number, line in enumerate(lines, 1)]
    counting = [(place, line) for place, line in numbered if line and not line.startswith("#")]
    if not counting:
        raise SettingError(f"{variable}: no {what} in {path}")
    return counting
