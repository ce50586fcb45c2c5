"""What is free is the least of what the machine and the container have left."""

from __future__ import annotations

from pathlib import Path

from moshi_cluster.models.free_memory import _container_bytes, _machine_bytes, free_bytes

NOWHERE = Path("/nowhere")


def test_the_machine_says_what_is_available(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 40 kB\n")
    assert _machine_bytes(meminfo) == 40 * 1024
    assert _machine_bytes(NOWHERE) is None


def test_a_container_has_its_limit_less_what_it_holds_but_for_cached_files(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    assert _container_bytes(tmp_path, NOWHERE) == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert _container_bytes(tmp_path, NOWHERE) is None


def test_the_older_kind_of_container_is_understood(tmp_path: Path) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text("1000\n")
    (tmp_path / "memory.usage_in_bytes").write_text("1200\n")
    (tmp_path / "memory.stat").write_text("total_inactive_file 100\n")
    assert _container_bytes(NOWHERE, tmp_path) == 0


def test_this_machine_has_something_left() -> None:
    found = free_bytes("cpu")
    assert found is None or found > 0
